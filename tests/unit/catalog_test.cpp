// The catalog agrees with the table of architectures, with itself, and with published files.
#include "model/archs.h"
#include "model/catalog.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <set>
#include <string>

namespace {

using namespace el;

std::string name_of(const CatalogModel &model) { return std::string(model.family) + " " + model.size; }

const CatalogModel &find(std::string_view name) {
    for (const CatalogModel &model : catalog())
        if (name_of(model) == name) return model;
    FAIL("not in the catalog: " << name);
    return catalog().front();
}

TEST_CASE("every model's architecture is a row, and every row has a model") {
    std::set<std::string_view> used;
    for (const CatalogModel &model : catalog()) {
        INFO(name_of(model));
        const std::string_view wanted = model.architecture;
        CHECK(std::ranges::any_of(architectures(), [&](const ArchRow &row) { return row.name == wanted; }));
        used.insert(wanted);
    }
    for (const ArchRow &row : architectures()) CHECK_MESSAGE(used.count(row.name), row.name);
}

TEST_CASE("names are unique and facts are there") {
    std::set<std::string> names;
    for (const CatalogModel &model : catalog()) {
        INFO(name_of(model));
        CHECK(names.insert(name_of(model)).second);
        CHECK(model.context_tokens >= 2048);
        CHECK(std::string_view(model.license).size() > 2);
    }
}

TEST_CASE("the geometry has as many parameters as published") {
    for (const CatalogModel &model : catalog()) {
        if (!model.geometry.layers) continue;
        INFO(name_of(model));
        const double counted = double(count_parameters(model.geometry)) / 1e6;
        CHECK(counted == doctest::Approx(model.parameters_millions).epsilon(0.01));
    }
}

TEST_CASE("weights take between 4.5 and 8.5 bits") {
    for (const CatalogModel &model : catalog()) {
        INFO(name_of(model));
        const double bits = 8 * double(q4_k_m_bytes(model).bytes) / (model.parameters_millions * 1e6);
        CHECK(bits > 4.5);
        CHECK(bits < 8.5);
    }
}

TEST_CASE("counted bytes agree with published Q4_K_M files") {
    const struct {
        const char *name;
        double bytes;
    } files[] = {{"Llama 3.2 1B", 807694464}, {"Llama 3.2 3B", 2019377696}, {"Llama 3.1 8B", 4920739232},
                 {"Qwen3 4B", 2497280256},    {"Gemma 3 270M", 253113024},  {"TinyLlama 1.1B", 668788096}};
    for (const auto &file : files) {
        INFO(file.name);
        const WeightBytes got = q4_k_m_bytes(find(file.name));
        CHECK(got.from == BytesFrom::kGeometry);
        CHECK(double(got.bytes) < file.bytes);  // files hold a vocabulary too
        CHECK(double(got.bytes) > 0.96 * file.bytes);
    }
}

}  // namespace
