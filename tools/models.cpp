// edgellm models: the catalog of known models.
#include "commands.h"
#include "json.h"

#include "model/catalog.h"

#include <algorithm>
#include <memory>

namespace tool {
namespace {

const char *proof_name(el::Proof proof) {
    switch (proof) {
    case el::Proof::kRealFile:
        return "real file";
    case el::Proof::kGolden:
        return "golden model";
    case el::Proof::kExpected:
        break;
    }
    return "expected";
}

const char *source_name(el::BytesFrom from) {
    switch (from) {
    case el::BytesFrom::kGeometry:
        return "geometry";
    case el::BytesFrom::kParameters:
        return "parameters";
    case el::BytesFrom::kFile:
        break;
    }
    return "file";
}

std::string name_of(const el::CatalogModel &model) { return el::format("{} {}", model.family, model.size); }

std::string count_text(double millions) {
    return millions < 1000 ? el::format("{:.0f}M", millions) : el::format("{:.1f}B", millions / 1000);
}

Json describe(const el::CatalogModel &model) {
    const el::WeightBytes weights = el::q4_k_m_bytes(model);
    return {{"family", model.family},
            {"size", model.size},
            {"parameters", static_cast<uint64_t>(model.parameters_millions * 1e6 + 0.5)},
            {"context", model.context_tokens},
            {"license", model.license},
            {"architecture", model.architecture},
            {"runs", proof_name(model.proof)},
            {"q4_k_m_bytes", weights.bytes},
            {"bytes_format", model.file_format},
            {"bytes_from", source_name(weights.from)}};
}

void put_text() {
    size_t name_width = 0, architecture_width = 0;
    for (const el::CatalogModel &model : el::catalog()) {
        name_width = std::max(name_width, name_of(model).size());
        architecture_width = std::max(architecture_width, std::string_view(model.architecture).size());
    }
    const auto line = [&](std::string_view name, std::string_view count, std::string_view context,
                          std::string_view bytes, std::string_view architecture, std::string_view runs,
                          std::string_view license) {
        put(el::format("{:<{}}  {:>6}  {:>7}  {:>10}  {:<{}}  {:<12}  {}\n", name, name_width, count, context, bytes,
                       architecture, architecture_width, runs, license));
    };
    line("model", "params", "context", "Q4_K_M", "architecture", "runs", "license");
    for (const el::CatalogModel &model : el::catalog()) {
        const el::WeightBytes weights = el::q4_k_m_bytes(model);
        const char *mark = weights.from == el::BytesFrom::kGeometry ? "" : "~";
        line(name_of(model), count_text(model.parameters_millions), std::to_string(model.context_tokens),
             mark + bytes_text(double(weights.bytes)), model.architecture, proof_name(model.proof), model.license);
    }
    put("\nruns: proven with a real file, proven with a golden model of the same make, or expected to.\n"
        "Q4_K_M: bytes of the weights; ~ is estimated from the parameters or a published file (gpt-oss: in MXFP4).\n"
        "Fine-tunes and other sizes of these architectures are expected to run as well. Licenses: the makers' terms "
        "count.\n");
}

void show_models(bool json) {
    if (!json) return put_text();
    Json list = Json::array();
    for (const el::CatalogModel &model : el::catalog()) list.push_back(describe(model));
    put_json({{"models", list}});
}

}  // namespace

void add_models(CLI::App &program) {
    auto json = std::make_shared<bool>(false);
    CLI::App *command = program.add_subcommand("models", "the models that are known to run");
    command->add_flag("--json", *json, "print JSON");
    command->callback([json] { show_models(*json); });
}

}  // namespace tool
