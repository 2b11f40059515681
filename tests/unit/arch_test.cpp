// Every architecture: logits of the original implementation, whatever the batches, and recurrent state.
#include "engine_helpers.h"
#include "model/gguf_writer.h"

#include <filesystem>

using namespace el;

namespace {

std::vector<std::string> names() {
    std::vector<std::string> found;
    for (const auto &entry : std::filesystem::directory_iterator(kGolden))
        if (entry.path().extension() == ".gguf") found.push_back(entry.path().stem());
    REQUIRE(found.size() >= 32);
    return found;
}

std::vector<int32_t> tokens_of(const std::string &name) { return read_npy<int32_t>(kGolden + name + ".tokens.npy"); }
std::vector<float> logits_of(const std::string &name) { return read_npy<float>(kGolden + name + ".npy"); }

const char *const kRecurrent[] = {"lfm2", "qwen35", "granite-hybrid"};

}  // namespace

TEST_CASE("reference kernels give the original implementation's logits, whatever the batches") {
    for (const std::string &name : names()) {
        CAPTURE(name);
        auto model = load(name);
        auto tokens = tokens_of(name);
        auto wanted = logits_of(name);
        std::vector<float> whole;
        for (size_t batch : {size_t(48), size_t(1), size_t(7)}) {
            CAPTURE(batch);
            Context context(model, exact());
            auto got = all_logits(context, tokens, batch);
            CHECK(relative_error(got, wanted) < 1e-4);
            if (whole.empty()) whole = got;
            CHECK(got == whole);  // bit for bit
        }
        Context one_thread(model, exact(48, 1));
        CHECK(all_logits(one_thread, tokens, 5) == whole);
    }
}

TEST_CASE("fast kernels stay close to the original implementation") {
    for (const std::string &name : names()) {
        CAPTURE(name);
        auto model = load(name, false);
        auto tokens = tokens_of(name);
        auto wanted = logits_of(name);
        for (size_t batch : {size_t(48), size_t(1), size_t(7)}) {
            CAPTURE(batch);
            ContextOptions options = exact();
            options.cache_k = options.cache_v = Format::kF16;
            Context context(model, options);
            CHECK(relative_error(all_logits(context, tokens, batch), wanted) < 3e-2);
        }
    }
}

TEST_CASE("the last logits do not depend on whether others are wanted") {
    for (const std::string &name : names()) {
        CAPTURE(name);
        auto model = load(name);
        auto tokens = tokens_of(name);
        Context all(model, exact()), last(model, exact());
        auto wanted = all_logits(all, tokens, 48);
        Report report;
        REQUIRE(decode(last, tokens, std::vector<int32_t>(48, 0), report) == Status::kOk);
        CHECK(std::equal(wanted.end() - model->n_vocab(), wanted.end(), last.logits(0)));
    }
}

TEST_CASE("recurrent state belongs to its sequence") {
    for (bool reference : {true, false})
        for (const char *name : kRecurrent) {
            CAPTURE(name);
            auto model = load(name, reference);
            auto tokens = tokens_of(name);
            Context alone(model, exact());
            auto wanted = all_logits(alone, tokens, 1);
            ContextOptions options = exact();
            options.max_sequences = 3;
            Context context(model, options);
            Report report;
            std::vector<float> got;
            for (size_t i = 0; i + 1 < 40; i += 2) {
                REQUIRE(decode(context, {5, tokens[i], 9, tokens[i + 1]}, {0, 2, 1, 2}, report) == Status::kOk);
                got.insert(got.end(), context.logits(0), context.logits(0) + 128);
            }
            std::vector<float> rows;  // of the second token of each step
            for (size_t i = 1; i < 40; i += 2) rows.insert(rows.end(), &wanted[i * 128], &wanted[i * 128] + 128);
            if (reference)
                CHECK(got == rows);
            else
                CHECK(relative_error(got, rows) < 3e-2);
        }
}

TEST_CASE("recurrent state is forgotten with its sequence, not with a step that is refused") {
    for (const char *name : kRecurrent) {
        CAPTURE(name);
        auto model = load(name);
        auto tokens = tokens_of(name);
        Context context(model, exact());
        auto wanted = all_logits(context, tokens, 48);
        Report report;
        CHECK(context.remove(0, 20, 48, report) == Status::kUnsupported);
        CHECK(std::string(report.text).find("recurrent state") != std::string::npos);
        CHECK(context.length(0) == 48);
        REQUIRE(context.remove(0, 0, 48, report) == Status::kOk);
        CHECK(all_logits(context, tokens, 5) == wanted);
        context.clear(0);
        std::vector<int32_t> first(tokens.begin(), tokens.begin() + 20), rest(tokens.begin() + 20, tokens.end());
        all_logits(context, first, 20);
        context.cancel();
        CHECK(decode(context, {1, 2, 3}, {0, 0, 0}, report) == Status::kCancelled);
        CHECK(decode(context, {1, 200}, {0, 0}, report) == Status::kInvalidArgument);
        auto got = all_logits(context, rest, 28);
        CHECK(std::equal(got.begin(), got.end(), wanted.begin() + 20 * 128));
    }
}

namespace {

// A golden model whose matrices are halved, with a scale of 2 (of 1/2 and quartered weights for odd experts) beside
// them.
void write_scaled(const std::string &name, const std::string &path) {
    GgufFile file = GgufFile::open(kGolden + name + ".gguf");
    GgufWriter writer(path);
    const Metadata &metadata = file.metadata();
    for (const Metadata::Entry &entry : metadata.entries()) {
        if (entry.key.find("tokenizer") == 0 || entry.type == MetaType::kArray) continue;
        if (entry.type == MetaType::kString)
            writer.set(entry.key, *metadata.get_string(entry.key));
        else if (entry.type == MetaType::kF32)
            writer.set(entry.key, float(*metadata.get_float(entry.key)));
        else if (entry.type == MetaType::kU32)
            writer.set(entry.key, uint32_t(*metadata.get_uint(entry.key)));
    }
    const std::string_view end = ".weight";
    auto scaled = [&](const TensorInfo &t) {
        return t.rows() > 1 && t.name.find("blk.") == 0 && t.format == Format::kF16 && t.name.ends_with(end);
    };
    auto experts = [&](const TensorInfo &t) { return t.shape[2] > 1 ? t.shape[2] : 1; };
    auto scale_of = [&](uint64_t expert) { return expert % 2 ? 0.5f : 2.0f; };
    for (const TensorInfo &t : file.tensors()) {
        writer.add_tensor(t.name, t.format, std::span(t.shape).first(t.n_dims));
        if (!scaled(t)) continue;
        const std::vector<uint64_t> shape{experts(t)};
        writer.add_tensor(std::string(t.name.substr(0, t.name.size() - end.size())) + ".scale", Format::kF32, shape);
    }
    writer.begin_data();
    for (const TensorInfo &t : file.tensors()) {
        std::vector<std::byte> data(t.bytes);
        file.file(t.file).read_at(t.offset, data.data(), data.size());
        const uint64_t n = t.rows() * t.shape[0];
        if (!scaled(t)) {
            writer.write(data.data(), data.size());
            continue;
        }
        std::vector<float> values(n), scales;
        format_info(t.format).decode(data.data(), n, values.data());
        for (uint64_t e = 0; e < experts(t); ++e) scales.push_back(scale_of(e));
        for (uint64_t i = 0; i < n; ++i) values[i] /= scale_of(i / (n / experts(t)));
        format_info(t.format).encode(values.data(), n, data.data());
        writer.write(data.data(), data.size());
        writer.write(scales.data(), scales.size() * sizeof(float));
    }
    writer.finish();
}

}  // namespace

TEST_CASE("scales beside matrices count, of experts each its own") {
    for (const char *name : {"llama", "qwen2", "gpt-oss", "qwen3moe", "phi3"}) {
        CAPTURE(name);
        const std::string path = std::filesystem::temp_directory_path() / ("edgellm-scaled-" + std::string(name));
        write_scaled(name, path);
        use_backends();
        for (bool reference : {true, false}) {
            ModelOptions options;
            options.reference_kernels = reference;
            Context context(Model::load(path, options), exact());
            const double error = relative_error(all_logits(context, tokens_of(name), 48), logits_of(name));
            CHECK(error < (reference ? 1e-4 : 3e-2));
        }
        std::filesystem::remove(path);
    }
}

TEST_CASE("a NaN among the weights is no crash") {
    for (const char *name : {"llama", "gpt-oss", "qwen35", "granite-hybrid", "gemma4"}) {
        CAPTURE(name);
        for (bool reference : {true, false}) {
            use_backends();
            std::filesystem::path path = std::filesystem::temp_directory_path() / ("edgellm-nan-" + std::string(name));
            std::filesystem::copy_file(kGolden + name + ".gguf", path,
                                       std::filesystem::copy_options::overwrite_existing);
            GgufFile file = GgufFile::open(path);
            std::FILE *out = std::fopen(path.c_str(), "r+b");
            for (const TensorInfo &tensor : file.tensors()) {  // in the middle of each
                const float nan = NAN;
                const uint16_t half = 0x7e00;
                std::fseek(out, long(tensor.offset + tensor.bytes / 8 * 4), SEEK_SET);
                if (tensor.format == Format::kF32 && tensor.bytes >= 4)
                    std::fwrite(&nan, 1, 4, out);
                else if (tensor.format == Format::kF16)
                    std::fwrite(&half, 1, 2, out);
            }
            std::fclose(out);
            ModelOptions options;
            options.reference_kernels = reference;
            auto model = Model::load(path, options);
            std::filesystem::remove(path);
            Context context(model, exact());
            all_logits(context, tokens_of(name), 7);
        }
    }
}
