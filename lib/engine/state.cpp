#include "engine/state.h"
#include "base/file_io.h"
#include "base/hash.h"

#include <cstring>
#include <type_traits>

namespace el {
namespace {

constexpr char kMagic[8] = {'E', 'D', 'G', 'E', 'L', 'L', 'M', 'S'};
constexpr uint32_t kVersion = 1;
constexpr uint32_t kFlagPlain = 1, kFlagState = 2;
constexpr uint32_t kChunkRows = 256;

const char *format_name(uint32_t number) {
    const FormatInfo *format = find_format(number);
    return format ? format->name : "unknown";
}

const char *policy_name(uint32_t eviction) {
    return eviction == uint32_t(Eviction::kSinks)    ? "sinks"
           : eviction == uint32_t(Eviction::kWindow) ? "window"
                                                     : "full";
}

}  // namespace

struct SequenceState::Header {
    char magic[8];
    uint32_t version;
    uint32_t n_groups;
    uint64_t bytes;  // in all, the checksum included
    uint64_t model;  // Model::hash()
    uint32_t cache_k, cache_v;
    uint32_t eviction;
    uint32_t flags;
    uint32_t n_rows;
    int32_t next_position;
    int32_t evicted;
    uint32_t n_vocab;
    uint64_t state_bytes;
    char kernels[16];  // the backend that computed the rows

    SavedSequence sequence() const {
        return {n_rows, next_position, evicted, (flags & kFlagPlain) != 0, (flags & kFlagState) != 0};
    }
};

struct SequenceState::Group {
    uint32_t window, n_layers, n_kv_heads, head_dim_k, head_dim_v;
    uint32_t first_row, spare;
    uint32_t row_bytes;

    bool same_shape(const Group &other) const {
        return std::memcmp(this, &other, offsetof(Group, first_row)) == 0 && row_bytes == other.row_bytes;
    }
};

class SequenceState::Writer {
  public:
    Writer(StateSink &sink, Report &report) : sink_(sink), report_(report) {}
    Status put(const void *from, size_t n) noexcept {
        hash_.add(from, n);
        return sink_.write(static_cast<const std::byte *>(from), n, report_);
    }
    Status finish() noexcept {
        const uint64_t checksum = hash_.digest();
        return sink_.write(reinterpret_cast<const std::byte *>(&checksum), sizeof checksum, report_);
    }

  private:
    StateSink &sink_;
    Report &report_;
    Hash64 hash_;
};

class SequenceState::Reader {
  public:
    Reader(StateSource &source, Report &report) : source_(source), report_(report) {}
    const char *name() const { return source_.name(); }
    Status get(void *to, size_t n) noexcept {
        if (n > source_.size() - offset_)
            return report_.set(Status::kFileCorrupt, "{} contradicts itself: it is too short for what it says", name());
        const Status status = source_.read(offset_, static_cast<std::byte *>(to), n, report_);
        offset_ += n;
        if (status == Status::kOk) hash_.add(to, n);
        return status;
    }
    // The checksum comes next and is right.
    Status finish() noexcept {
        const uint64_t wanted = hash_.digest();
        uint64_t checksum = 0;
        if (get(&checksum, sizeof checksum) != Status::kOk) return report_.status;
        if (checksum != wanted)
            return report_.set(Status::kFileCorrupt, "{} is damaged: its checksum does not fit its content", name());
        return Status::kOk;
    }

  private:
    StateSource &source_;
    Report &report_;
    uint64_t offset_ = 0;
    Hash64 hash_;
};

// ---- what a sequence of this context looks like

SequenceState::Header SequenceState::header() const noexcept {
    static_assert(std::has_unique_object_representations_v<Header> && std::has_unique_object_representations_v<Group>);
    const SavedSequence saved = cache().saved(sequence_);
    const bool state = context_.recurrent() && saved.state;
    Header h = {};
    std::memcpy(h.magic, kMagic, sizeof h.magic);
    h.version = kVersion;
    h.n_groups = n_groups();
    h.model = context_.model_->hash();
    h.cache_k = uint32_t(context_.options_.cache_k);
    h.cache_v = uint32_t(context_.options_.cache_v);
    h.eviction = uint32_t(context_.options_.eviction);
    h.flags = (saved.plain ? kFlagPlain : 0) | (state ? kFlagState : 0);
    h.n_rows = saved.n_rows;
    h.next_position = saved.next_position;
    h.evicted = saved.evicted;
    h.n_vocab = context_.model_->n_vocab();
    h.state_bytes = state ? context_.executable_->cache().state_bytes() : 0;
    std::strncpy(h.kernels, context_.model_->backend().name(), sizeof h.kernels - 1);
    return h;
}

SequenceState::Group SequenceState::group(uint32_t g) const noexcept {
    const CacheGroup &group = context_.model_->program().cache_groups[g];
    return {group.window,      group.n_layers,
            group.n_kv_heads,  group.head_dim_k,
            group.head_dim_v,  groups()[g].first_row,
            groups()[g].spare, static_cast<uint32_t>(context_.executable_->cache().row_bytes(g))};
}

// With what groups() says.
uint64_t SequenceState::bytes_of(const Header &h) const noexcept {
    uint64_t bytes = sizeof h + 2 * sizeof(int32_t) * h.n_rows + h.state_bytes + sizeof(uint64_t);
    for (uint32_t g = 0; g < n_groups(); ++g) {
        const uint64_t rows = h.n_rows - groups()[g].first_row + (groups()[g].spare ? kPageTokens : 0);
        bytes += sizeof(Group) + rows * context_.executable_->cache().row_bytes(g);
    }
    return bytes;
}

uint64_t SequenceState::bytes() noexcept {
    for (uint32_t g = 0; g < n_groups(); ++g) groups()[g] = cache().saved_group(g, sequence_);
    return bytes_of(header());
}

// Calls visit(slots, n) for as many rows of the group as the buffer holds, again and again, the spare page's last.
template <typename Visit> Status SequenceState::for_rows(uint32_t g, Visit visit) noexcept {
    const SavedGroup &saved = groups()[g];
    const uint32_t length = cache().length(sequence_), rows = length - saved.first_row,
                   all = rows + (saved.spare ? kPageTokens : 0);
    const size_t row_bytes = context_.executable_->cache().row_bytes(g);
    const uint32_t most = static_cast<uint32_t>(std::min<size_t>(buffer().size() / row_bytes, kChunkRows));
    int32_t slots[kChunkRows];
    for (uint32_t begin = 0, n; begin < all; begin += n) {
        n = std::min(most, all - begin);
        for (uint32_t i = 0; i < n; ++i) {
            const uint32_t row = begin + i;
            slots[i] = row < rows ? cache().slot(g, sequence_, saved.first_row + row)
                                  : cache().spare_page(g, sequence_) * int32_t(kPageTokens) + int32_t(row - rows);
        }
        if (const Status status = visit(slots, n, n * row_bytes); status != Status::kOk) return status;
    }
    return Status::kOk;
}

// Calls visit(slot, begin, n) for the bytes of the recurrent state, as many as the buffer holds.
template <typename Visit> Status SequenceState::for_state(Visit visit) noexcept {
    const size_t all = context_.executable_->cache().state_bytes(), most = buffer().size();
    for (size_t begin = 0; begin < all; begin += most)
        if (const Status status = visit(cache().state_before(sequence_), begin, std::min(most, all - begin));
            status != Status::kOk)
            return status;
    return Status::kOk;
}

// ---- saving

Status SequenceState::check_savable(Report &report) const noexcept {
    if (context_.tree_[sequence_] >= 0)
        return report.set(Status::kUnsupported,
                          "sequence {} ends with a tree of drafts, which is not saved; remove it from position {} on "
                          "first",
                          sequence_, context_.tree_[sequence_]);
    return Status::kOk;
}

Status SequenceState::save(StateSink &sink, Report &report) noexcept {
    if (check_savable(report) != Status::kOk) return report.status;
    Writer writer(sink, report);
    if (write_all(writer, report) != Status::kOk) return report.status;
    return writer.finish();
}

Status SequenceState::write_all(Writer &writer, Report &report) noexcept {
    CacheMemory &memory = context_.executable_->cache();
    std::byte *const bytes = buffer().data();
    const uint64_t all = this->bytes();
    Header h = header();
    h.bytes = all;
    if (writer.put(&h, sizeof h) != Status::kOk) return report.status;
    for (uint32_t g = 0; g < n_groups(); ++g) {
        const Group group = this->group(g);
        if (writer.put(&group, sizeof group) != Status::kOk) return report.status;
    }
    for (const int32_t *rows : {cache().tokens(sequence_), cache().positions(sequence_)})
        if (writer.put(rows, h.n_rows * sizeof *rows) != Status::kOk) return report.status;
    auto put_state = [&](int32_t slot, size_t begin, size_t n) {
        memory.read_state(slot, begin, n, bytes);
        return writer.put(bytes, n);
    };
    if (h.state_bytes && for_state(put_state) != Status::kOk) return report.status;
    for (uint32_t g = 0; g < n_groups(); ++g) {
        auto put_rows = [&](const int32_t *slots, uint32_t n, size_t n_bytes) {
            memory.read_rows(g, slots, n, bytes);
            return writer.put(bytes, n_bytes);
        };
        if (for_rows(g, put_rows) != Status::kOk) return report.status;
    }
    return context_.failure(report);
}

// ---- restoring

// Nothing in it is looked at before the checksum has been found right, but what that needs.
Status SequenceState::check_whole(StateSource &source, Report &report) noexcept {
    const char *name = source.name();
    const uint64_t size = source.size();
    Header h = {};
    const size_t known = std::min<uint64_t>(size, sizeof h);
    if (source.read(0, reinterpret_cast<std::byte *>(&h), known, report) != Status::kOk) return report.status;
    if (std::memcmp(h.magic, kMagic, std::min(known, sizeof kMagic)) != 0)
        return report.set(Status::kFileCorrupt, "{} is no saved sequence", name);
    if (known >= offsetof(Header, n_groups) && h.version != kVersion)
        return report.set(Status::kUnsupported, "{} has version {} of the format; this library reads version {}", name,
                          h.version, kVersion);
    if (known < sizeof h)
        return report.set(Status::kFileTruncated, "{} is truncated: it ends at byte {}, inside its header", name, size);
    if (size < h.bytes)
        return report.set(Status::kFileTruncated, "{} is truncated: it ends at byte {} of {}", name, size, h.bytes);
    if (size > h.bytes || size < sizeof h + sizeof(uint64_t))
        return report.set(Status::kFileCorrupt, "{} is damaged: it has {} bytes, but says {}", name, size, h.bytes);

    Reader reader(source, report);
    for (uint64_t left = size - sizeof(uint64_t), n; left > 0; left -= n) {
        n = std::min<uint64_t>(left, buffer().size());
        if (reader.get(buffer().data(), n) != Status::kOk) return report.status;
    }
    return reader.finish();
}

Status SequenceState::check_fits(const Header &h, const char *name, Report &report) const noexcept {
    const Header mine = header();
    if (h.model != mine.model || h.n_vocab != mine.n_vocab)
        return report.set(Status::kStateMismatch, "{} was saved with another model than {}", name,
                          ShownPath(context_.model_->path().c_str()).text);
    if (h.cache_k != mine.cache_k || h.cache_v != mine.cache_v)
        return report.set(Status::kStateMismatch,
                          "{} was saved from a cache of keys in {} and values in {}; this context has {} and {}", name,
                          format_name(h.cache_k), format_name(h.cache_v), format_name(mine.cache_k),
                          format_name(mine.cache_v));
    if (h.evicted != 0 && h.eviction != mine.eviction)
        return report.set(Status::kStateMismatch,
                          "{} has given up tokens by the policy '{}'; this context has the policy '{}'", name,
                          policy_name(h.eviction), policy_name(mine.eviction));
    if (h.n_groups != mine.n_groups)
        return report.set(Status::kStateMismatch, "{} has {} groups of layers; this version of the library makes {}",
                          name, h.n_groups, mine.n_groups);
    if (h.n_rows > context_.options_.context_tokens)
        return report.set(Status::kContextFull, "{} has {} tokens; this context holds {}", name, h.n_rows,
                          context_.options_.context_tokens);
    return Status::kOk;
}

// All but rows and state, into arrays that nothing uses between steps; and whether it can be.
Status SequenceState::read_tables(Reader &reader, Header &h, Report &report) noexcept {
    if (reader.get(&h, sizeof h) != Status::kOk) return report.status;
    if (check_fits(h, reader.name(), report) != Status::kOk) return report.status;
    for (uint32_t g = 0; g < n_groups(); ++g) {
        Group group;
        if (reader.get(&group, sizeof group) != Status::kOk) return report.status;
        groups()[g] = {group.first_row, group.spare != 0};
        if (!group.same_shape(this->group(g)))
            return report.set(Status::kStateMismatch,
                              "{}: group {} of layers has another shape than this version of the library makes",
                              reader.name(), g);
    }
    int32_t *positions = context_.slots_[0], *tokens = context_.slots_[1];
    for (int32_t *rows : {tokens, positions})
        if (reader.get(rows, h.n_rows * sizeof *rows) != Status::kOk) return report.status;
    bool possible = cache().can_restore(h.sequence(), {groups(), n_groups()}, positions);
    for (uint32_t row = 0; row < h.n_rows; ++row) possible &= tokens[row] >= 0 && uint32_t(tokens[row]) < h.n_vocab;
    const bool state = (h.flags & kFlagState) != 0;
    possible &= (h.flags & ~(kFlagPlain | kFlagState)) == 0 && state == (context_.recurrent() && h.n_rows > 0) &&
                h.state_bytes == (state ? context_.executable_->cache().state_bytes() : 0);
    if (!possible || h.bytes != bytes_of(h))
        return report.set(Status::kFileCorrupt, "{} contradicts itself: no sequence can be like that", reader.name());
    return Status::kOk;
}

Status SequenceState::read_content(Reader &reader, const Header &h, Report &report) noexcept {
    CacheMemory &memory = context_.executable_->cache();
    std::byte *const bytes = buffer().data();
    for (uint32_t row = 0; row < h.n_rows; ++row)
        cache().set_row(sequence_, row, context_.slots_[1][row], context_.slots_[0][row]);
    auto get_state = [&](int32_t slot, size_t begin, size_t n) {
        if (reader.get(bytes, n) == Status::kOk) memory.write_state(slot, begin, n, bytes);
        return report.status;
    };
    if (h.state_bytes && for_state(get_state) != Status::kOk) return report.status;
    for (uint32_t g = 0; g < n_groups(); ++g) {
        auto get_rows = [&](const int32_t *slots, uint32_t n, size_t n_bytes) {
            if (reader.get(bytes, n_bytes) == Status::kOk) memory.write_rows(g, slots, n, bytes);
            return report.status;
        };
        if (for_rows(g, get_rows) != Status::kOk) return report.status;
    }
    if (context_.failure(report) != Status::kOk) return report.status;
    return reader.finish();
}

Status SequenceState::restore(StateSource &source, Report &report) noexcept {
    if (check_whole(source, report) != Status::kOk) return report.status;
    Reader reader(source, report);
    Header h;
    if (read_tables(reader, h, report) != Status::kOk) return report.status;
    SavedSequence saved = h.sequence();
    // Other kernels give other bits: later prompts do not share such rows.
    saved.plain &= std::memcmp(h.kernels, header().kernels, sizeof h.kernels) == 0;
    context_.clear(sequence_);
    if (!cache().restore(sequence_, saved, {groups(), n_groups()}))
        return report.set(Status::kContextFull, "the cache has no free pages for the {} tokens of {}", h.n_rows,
                          source.name());
    if (read_content(reader, h, report) != Status::kOk) context_.clear(sequence_);
    return report.status;
}

}  // namespace el
