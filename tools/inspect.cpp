// edgellm inspect: what a model file holds.
#include "commands.h"
#include "files.h"
#include "interrupt.h"
#include "json.h"

#include "model/gguf.h"
#include "program/build.h"

#include <algorithm>
#include <map>
#include <memory>

namespace tool {
namespace {

// Longer arrays are told by their type and count, unless --full is given.
constexpr uint64_t kShownElements = 16;
constexpr size_t kShownBytes = 200;  // of a value's text

struct Options {
    std::string file, tensor, output;
    bool json = false, program = false, full = false;
};

std::vector<uint64_t> npy_shape(const el::TensorInfo &tensor) {  // slowest dimension first
    std::vector<uint64_t> shape(tensor.shape, tensor.shape + tensor.n_dims);
    std::reverse(shape.begin(), shape.end());
    return shape;
}

std::string shape_text(const el::TensorInfo &tensor) {
    std::string text = "[";
    for (uint64_t n : npy_shape(tensor)) text += el::format("{}{}", text.size() > 1 ? ", " : "", n);
    return text + "]";
}

template <typename T> T read_scalar(const std::byte *&at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    at += sizeof value;
    return value;
}

// The next value of the type in an entry's payload.
Json read_value(el::MetaType type, const std::byte *&at) {
    switch (type) {
    case el::MetaType::kU8:
        return read_scalar<uint8_t>(at);
    case el::MetaType::kI8:
        return read_scalar<int8_t>(at);
    case el::MetaType::kU16:
        return read_scalar<uint16_t>(at);
    case el::MetaType::kI16:
        return read_scalar<int16_t>(at);
    case el::MetaType::kU32:
        return read_scalar<uint32_t>(at);
    case el::MetaType::kI32:
        return read_scalar<int32_t>(at);
    case el::MetaType::kF32:
        return read_scalar<float>(at);
    case el::MetaType::kBool:
        return read_scalar<uint8_t>(at) != 0;
    case el::MetaType::kU64:
        return read_scalar<uint64_t>(at);
    case el::MetaType::kI64:
        return read_scalar<int64_t>(at);
    case el::MetaType::kF64:
        return read_scalar<double>(at);
    case el::MetaType::kString: {
        auto n = static_cast<size_t>(read_scalar<uint64_t>(at));
        std::string text(reinterpret_cast<const char *>(at), n);
        at += n;
        return text;
    }
    default:
        return nullptr;  // arrays of arrays are shown by their size only
    }
}

Json metadata_json(const el::Metadata::Entry &entry, bool full) {
    const std::byte *at = entry.data;
    if (entry.type != el::MetaType::kArray) return read_value(entry.type, at);
    if (entry.element == el::MetaType::kArray || (!full && entry.count > kShownElements))
        return {{"array_of", el::meta_type_name(entry.element)}, {"count", entry.count}};
    Json list = Json::array();
    for (uint64_t i = 0; i < entry.count; ++i) list.push_back(read_value(entry.element, at));
    return list;
}

struct Total {
    uint64_t tensors = 0, values = 0, bytes = 0;

    void add(const el::TensorInfo &tensor) {
        ++tensors;
        values += tensor.rows() * tensor.cols();
        bytes += tensor.bytes;
    }
};

struct Totals {
    Total all;
    std::map<std::string, Total> by_format;

    explicit Totals(const el::GgufFile &file) {
        for (const el::TensorInfo &tensor : file.tensors()) {
            all.add(tensor);
            by_format[el::format_info(tensor.format).name].add(tensor);
        }
    }
};

void put_as_json(const el::GgufFile &file, const Options &options) {
    Json metadata = Json::object(), tensors = Json::array(), formats = Json::object();
    for (const auto &entry : file.metadata().entries())
        metadata[std::string(entry.key)] = metadata_json(entry, options.full);
    for (const el::TensorInfo &tensor : file.tensors())
        tensors.push_back({{"name", tensor.name},
                           {"format", el::format_info(tensor.format).name},
                           {"shape", npy_shape(tensor)},
                           {"bytes", tensor.bytes},
                           {"offset", tensor.offset},
                           {"part", tensor.file}});
    const Totals totals(file);
    for (const auto &[name, total] : totals.by_format)
        formats[name] = {{"tensors", total.tensors}, {"values", total.values}, {"bytes", total.bytes}};
    Json json = {{"file", options.file},
                 {"gguf_version", file.version()},
                 {"parts", file.file_count()},
                 {"alignment", file.alignment()},
                 {"n_values", totals.all.values},
                 {"tensor_bytes", totals.all.bytes},
                 {"formats", formats},
                 {"metadata", metadata},
                 {"tensors", tensors}};
    put_json(json);
}

std::string value_text(const el::Metadata::Entry &entry, bool full) {
    std::string type = el::meta_type_name(entry.type);
    if (entry.type == el::MetaType::kArray) {
        type = el::format("{}[{}]", el::meta_type_name(entry.element), entry.count);
        if (!full && entry.count > kShownElements) return type;
    }
    std::string text = printable(el::Metadata::to_text(entry));
    if (!full && text.size() > kShownBytes)
        text = text.substr(0, kShownBytes) + el::format("... ({} bytes)", text.size());
    return el::format("{} {}", type, text);
}

void put_as_text(const el::GgufFile &file, const Options &options) {
    put(el::format("{}: GGUF version {}, {} part(s), alignment {}\n\nmetadata\n", printable(options.file),
                   file.version(), file.file_count(), file.alignment()));
    for (const auto &entry : file.metadata().entries())
        put(el::format("  {}: {}\n", printable(entry.key), value_text(entry, options.full)));
    put("\ntensors (slowest dimension first)\n");
    for (const el::TensorInfo &tensor : file.tensors())
        put(el::format("  {:<36} {:<7} {:>12}  {}\n", printable(tensor.name), el::format_info(tensor.format).name,
                       tensor.bytes, shape_text(tensor)));
    const Totals totals(file);
    put("\ntotals\n");
    auto put_total = [](const std::string &name, const Total &total) {
        put(el::format("  {:<7} {:>5} tensors {:>14} values  {}\n", name, total.tensors, total.values,
                       bytes_text(double(total.bytes))));
    };
    for (const auto &[name, total] : totals.by_format) put_total(name, total);
    put_total("all", totals.all);
}

void put_program(const el::GgufFile &file, bool json) {
    const el::Program program = el::build_program(el::resolve_spec(file), file.tensors());
    const std::string text = el::dump_program(program, file.tensors());
    if (!json) return put(text);
    Json lines = Json::array();
    for_each_line(text, [&](std::string_view line) { lines.push_back(line); });
    put_json({{"program", lines}});
}

void decode_tensor(const el::GgufFile &file, const Options &options) {
    const el::TensorInfo *tensor = file.find_tensor(options.tensor);
    if (!tensor) fail("{} has no tensor '{}'; edgellm inspect lists them", options.file, options.tensor);
    const el::FormatInfo &format = el::format_info(tensor->format);
    const uint64_t n_blocks = tensor->bytes / format.bytes;
    constexpr uint64_t kChunkValues = 1 << 20;
    const uint64_t chunk = std::max<uint64_t>(kChunkValues / format.values, 1);
    std::vector<std::byte> blocks(chunk * format.bytes);
    std::vector<float> values(chunk * format.values);
    NpyWriter out(options.output, npy_shape(*tensor));
    Progress progress("decoding", n_blocks);
    for (uint64_t begin = 0; begin < n_blocks; begin += chunk) {
        check_interrupt();
        const uint64_t n = std::min(chunk, n_blocks - begin);
        file.read_tensor(*tensor, begin * format.bytes, blocks.data(), n * format.bytes);
        format.decode(blocks.data(), n * format.values, values.data());
        out.write(std::span(values).first(n * format.values));
        progress.at(begin);
    }
    out.finish();
}

void inspect(const Options &options) {
    if (options.tensor.empty() != options.output.empty()) throw UsageError("--tensor and -o go together");
    const el::GgufFile file = el::GgufFile::open(options.file);
    if (!options.tensor.empty())
        decode_tensor(file, options);
    else if (options.program)
        put_program(file, options.json);
    else
        options.json ? put_as_json(file, options) : put_as_text(file, options);
}

}  // namespace

void add_inspect(CLI::App &program) {
    auto options = std::make_shared<Options>();
    CLI::App *command = program.add_subcommand("inspect", "what a model file holds");
    command->add_option("file", options->file, "model file (GGUF)")->required();
    command->add_flag("--json", options->json, "print JSON");
    command->add_flag("--full", options->full, "long arrays and texts whole");
    CLI::Option *ops = command->add_flag("--program", options->program, "the ops of a forward pass");
    command->add_option("--tensor", options->tensor, "a tensor to decode to float32")->type_name("NAME")->excludes(ops);
    command->add_option("-o,--output", options->output, "array file (.npy) for it")->type_name("FILE");
    command->callback([options] { inspect(*options); });
}

}  // namespace tool
