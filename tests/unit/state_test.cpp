// Saved sequences: they go on as if nothing had happened, wherever they are restored; what is damaged or foreign is
// refused, and files are old or new whatever happens.
#include "base/hash.h"
#include "engine/state.h"
#include "engine_helpers.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace el;

namespace {

using Bytes = std::vector<std::byte>;

// Logits after each step of some tokens of a sequence.
std::vector<float> feed(Context &context, int32_t sequence, const std::vector<int32_t> &tokens, size_t step = 16) {
    std::vector<float> out;
    for (size_t i = 0; i < tokens.size(); i += step) {
        Batch b;
        b.tokens = tokens.data() + i;
        b.n = std::min(step, tokens.size() - i);
        b.sequence = sequence;
        Report report;
        REQUIRE_MESSAGE(context.decode(b, report) == Status::kOk, report.text);
        out.insert(out.end(), context.logits(0), context.logits(0) + context.model().n_vocab());
    }
    return out;
}

ContextOptions options(uint32_t sequences, uint32_t tokens = 0, Eviction eviction = Eviction::kNone) {
    ContextOptions options = exact(32);
    options.max_sequences = sequences;
    options.context_tokens = tokens;
    options.eviction = eviction;
    return options;
}

Bytes saved(Context &context, uint32_t sequence) {
    SequenceState state(context, sequence);
    Bytes bytes(state.bytes());
    Report report;
    REQUIRE_MESSAGE(state.save_buffer(bytes.data(), bytes.size(), nullptr, report) == Status::kOk, report.text);
    return bytes;
}

Status restore(Context &context, uint32_t sequence, const Bytes &bytes, std::string *text = nullptr) {
    Report report;
    SequenceState(context, sequence).restore_buffer(bytes.data(), bytes.size(), report);
    if (text) *text = report.text;
    return report.status;
}

// As whoever wants to deceive would do it.
void seal(Bytes &bytes) {
    Hash64 hash;
    hash.add(bytes.data(), bytes.size() - 8);
    const uint64_t checksum = hash.digest();
    std::memcpy(bytes.data() + bytes.size() - 8, &checksum, 8);
}

class Folder {
  public:
    Folder() { REQUIRE(mkdtemp(path_)); }
    ~Folder() { std::filesystem::remove_all(path_); }
    std::string path(const char *name) const { return std::string(path_) + "/" + name; }
    size_t n_files() const {
        return size_t(std::distance(std::filesystem::directory_iterator(path_), std::filesystem::directory_iterator()));
    }

  private:
    char path_[32] = "/tmp/edgellm-state-XXXXXX";
};

constexpr const char *kModels[] = {"llama", "gemma3", "gpt-oss", "gemma4", "lfm2", "qwen35", "granite-hybrid"};

}  // namespace

TEST_CASE("a restored sequence goes on as the saved one does") {
    for (const char *name : kModels) {
        CAPTURE(name);
        auto model = load(name);
        auto tokens = random_tokens(256, 5);
        ContextOptions small = options(1);
        small.max_batch_tokens = 16;
        small.threads.threads = 1;
        Context from(model, options(2)), to(model, small), same(model, options(2));
        size_t done = 0;
        for (size_t n : {1, 31, 32, 33, 64, 130}) {
            CAPTURE(n);
            feed(from, 1, part(tokens, done, n));
            done = n;
            const Bytes bytes = saved(from, 1);
            REQUIRE(restore(to, 0, bytes) == Status::kOk);
            CHECK(to.length(0) == n);
            CHECK(saved(to, 0) == bytes);
            REQUIRE(restore(same, 0, bytes) == Status::kOk);
            Report report;
            REQUIRE(from.fork(1, 0, report) == Status::kOk);
            const auto wanted = feed(from, 0, part(tokens, n, n + 33));
            CHECK(feed(to, 0, part(tokens, n, n + 33)) == wanted);
            CHECK(feed(same, 0, part(tokens, n, n + 33)) == wanted);
            CHECK(same.length(1) == 0);
        }
    }
}

TEST_CASE("quantized caches are saved as they are") {
    for (const char *name : {"llama", "gemma3"})
        for (bool reference : {true, false}) {
            auto model = load(name, reference);
            ContextOptions quantized = options(1);
            quantized.cache_k = Format::kQ4_0;
            quantized.cache_v = Format::kQ8_0;
            Context from(model, quantized), to(model, quantized);
            feed(from, 0, random_tokens(70));
            REQUIRE(restore(to, 0, saved(from, 0)) == Status::kOk);
            const auto wanted = feed(from, 0, random_tokens(40, 2));
            CHECK(feed(to, 0, random_tokens(40, 2)) == wanted);
        }
}

TEST_CASE("an empty sequence is saved, too") {
    auto model = load("lfm2");
    Context context(model, options(2));
    const Bytes nothing = saved(context, 0);
    const auto wanted = feed(context, 0, random_tokens(40));
    REQUIRE(restore(context, 0, nothing) == Status::kOk);
    CHECK(context.length(0) == 0);
    CHECK(feed(context, 0, random_tokens(40)) == wanted);
}

TEST_CASE("gaps and shifts are saved") {
    for (const char *name : {"llama", "gemma3"}) {
        CAPTURE(name);
        auto model = load(name);
        Context from(model, options(1)), to(model, options(3));
        Report report;
        feed(from, 0, random_tokens(60));
        REQUIRE(from.remove(0, 10, 41, report) == Status::kOk);
        Bytes bytes = saved(from, 0);
        REQUIRE(restore(to, 2, bytes) == Status::kOk);
        CHECK(to.next_position(2) == 60);
        CHECK(to.cache().position(2, 10) == 41);
        for (auto [context, s] : {std::pair(&from, 0u), std::pair(&to, 2u)})
            REQUIRE(context->shift(s, 41, INT32_MAX, -31, report) == Status::kOk);
        CHECK(saved(to, 2) == saved(from, 0));
        REQUIRE(restore(to, 1, saved(from, 0)) == Status::kOk);
        const auto wanted = feed(from, 0, random_tokens(40, 2));
        CHECK(feed(to, 1, random_tokens(40, 2)) == wanted);
        CHECK(feed(to, 2, random_tokens(40, 2)) == wanted);
        // The rows are not what a prompt with these tokens would give, so no prompt takes them.
        auto kept = random_tokens(60);
        kept.erase(kept.begin() + 10, kept.begin() + 41);
        auto prompt = random_tokens(40, 2);
        prompt.insert(prompt.begin(), kept.begin(), kept.end());
        to.clear(0);
        CHECK(to.reuse_prefix(0, prompt) == 0);
    }
}

TEST_CASE("what was given up, and sinks, are saved") {
    for (const char *name : {"llama", "gemma3"})
        for (Eviction eviction : {Eviction::kWindow, Eviction::kSinks}) {
            CAPTURE(name);
            CAPTURE(int(eviction));
            auto model = load(name);
            auto tokens = random_tokens(410);
            Context from(model, options(2, 128, eviction)), to(model, options(1, 128, eviction)),
                other(model, options(1, 128));
            for (size_t n : {100, 135, 290}) {
                CAPTURE(n);
                from.clear(0);
                feed(from, 0, part(tokens, 0, n), 21);
                const Bytes bytes = saved(from, 0);
                REQUIRE(restore(to, 0, bytes) == Status::kOk);
                const auto rest = part(tokens, n, n + 120);  // more pages go
                CHECK(feed(to, 0, rest, 20) == feed(from, 0, rest, 20));
                std::string text;
                CHECK(restore(other, 0, bytes, &text) == (n > 128 ? Status::kStateMismatch : Status::kOk));
                if (n > 128) CHECK(text.find("this context has the policy 'full'") != std::string::npos);
            }
        }
}

TEST_CASE("prompts share the pages of a restored sequence, if the same kernels made them") {
    auto reference = load("llama"), fast = load("llama", false);
    auto tokens = random_tokens(100);
    Context from(reference, options(1));
    feed(from, 0, tokens);
    for (auto &model : {reference, fast}) {
        Context to(model, options(2));
        REQUIRE(restore(to, 0, saved(from, 0)) == Status::kOk);
        feed(to, 0, random_tokens(40, 2));
        CHECK(to.reuse_prefix(1, tokens) == (model == reference ? 96 : 0));
    }
}

TEST_CASE("other kernels go on where these stopped") {
    for (const char *name : {"llama", "gemma3", "lfm2"}) {
        CAPTURE(name);
        auto reference = load(name), fast = load(name, false);
        CHECK(reference->hash() == fast->hash());
        ContextOptions half = options(1);
        half.cache_k = half.cache_v = Format::kF16;
        Context from(fast, half), to(reference, half), again(fast, half);
        feed(from, 0, random_tokens(70));
        const Bytes bytes = saved(from, 0);
        REQUIRE(restore(to, 0, bytes) == Status::kOk);
        REQUIRE(restore(again, 0, bytes) == Status::kOk);
        const auto wanted = feed(from, 0, {7});
        CHECK(relative_error(feed(to, 0, {7}), wanted) < 2e-2);
        CHECK(feed(again, 0, {7}) == wanted);
    }
}

TEST_CASE("what is cut off or damaged is refused, and the sequence is as before") {
    auto model = load("lfm2");
    auto tokens = random_tokens(90);
    Context context(model, options(2));
    feed(context, 0, part(tokens, 0, 33));
    const Bytes good = saved(context, 0);
    feed(context, 1, part(tokens, 0, 70));
    const Bytes before = saved(context, 1);
    std::string text;

    for (size_t n = 0; n < good.size(); n += n < 400 ? 1 : 97) {
        const Bytes cut(good.begin(), good.begin() + std::ptrdiff_t(n));
        REQUIRE(restore(context, 1, cut, &text) == Status::kFileTruncated);
        REQUIRE(text.find("it ends at byte " + std::to_string(n)) != std::string::npos);
    }
    std::mt19937 random(3);
    for (size_t i = 0; i < 2000; ++i) {
        Bytes flipped = good;
        const size_t at = i < 200 ? i : random() % good.size();
        flipped[at] ^= std::byte(1u << random() % 8);
        REQUIRE(restore(context, 1, flipped) != Status::kOk);
        REQUIRE(context.length(1) == 70);
    }
    Bytes longer = good;
    longer.push_back(std::byte(0));
    CHECK(restore(context, 1, longer, &text) == Status::kFileCorrupt);
    CHECK(text == "the buffer is damaged: it has " + std::to_string(longer.size()) + " bytes, but says " +
                      std::to_string(good.size()));
    Bytes none(good.size());
    CHECK(restore(context, 1, none, &text) == Status::kFileCorrupt);
    CHECK(text == "the buffer is no saved sequence");
    Bytes newer = good;
    newer[8] = std::byte(2);
    CHECK(restore(context, 1, newer, &text) == Status::kUnsupported);
    CHECK(text.find("version 2") != std::string::npos);

    CHECK(saved(context, 1) == before);
    Context plain(model, options(1));
    feed(plain, 0, part(tokens, 0, 70));
    CHECK(feed(context, 1, part(tokens, 70, 90)) == feed(plain, 0, part(tokens, 70, 90)));
    CHECK(restore(context, 1, good) == Status::kOk);
}

TEST_CASE("lies under a right checksum do no harm") {
    for (const char *name : {"gemma3", "lfm2"}) {
        CAPTURE(name);
        auto model = load(name);
        Context context(model, options(2, 128));
        feed(context, 0, random_tokens(100));
        const Bytes good = saved(context, 0);
        std::mt19937 random(4);
        const size_t header = 88 + 32 * model->program().cache_groups.size() + 2 * 4 * 100;
        size_t n_restored = 0;
        for (int i = 0; i < 500; ++i) {
            Bytes lie = good;
            const uint32_t values[] = {0,   1,   31,       32,         64,         96,        127,
                                       128, 129, 1u << 20, 0x7fffffff, 0x80000000, 0xffffffff};
            const size_t at = 8 + random() % (header - 12) / 4 * 4;
            std::memcpy(lie.data() + at, &values[random() % std::size(values)], 4);
            seal(lie);
            const Status status = restore(context, 1, lie);
            if (status == Status::kOk) {
                ++n_restored;
                if (context.length(1) < 128) feed(context, 1, {1});
                context.clear(1);
            }
        }
        CHECK(n_restored > 0);
        CHECK(n_restored < 450);
        CHECK(saved(context, 0) == good);
    }
}

TEST_CASE("a model of the same shape with other weights is another model") {
    Folder folder;
    const std::string path = folder.path("tuned.gguf");
    Context from(load("llama"), options(1));
    feed(from, 0, random_tokens(10));
    const Bytes bytes = saved(from, 0);
    auto copy = [&](std::string_view changed, uint64_t from_end) {
        std::filesystem::copy_file(kGolden + "llama.gguf", path, std::filesystem::copy_options::overwrite_existing);
        const GgufFile layout = GgufFile::open(path);
        for (const TensorInfo &tensor : layout.tensors()) {
            if (tensor.name != changed) continue;
            std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
            file.seekp(std::streamoff(tensor.offset + (from_end ? tensor.bytes - from_end : 0)));
            file.put(1);  // no value of the file has this byte there
        }
        ModelOptions reference;
        reference.reference_kernels = true;
        return Model::load(path, reference);
    };
    std::string text;
    for (const char *changed :
         {"token_embd.weight", "blk.1.attn_k.weight", "blk.1.ffn_down.weight", "output_norm.weight"})
        for (uint64_t from_end : {0, 4}) {  // in its first value, or in one of the last
            CAPTURE(changed);
            Context other(copy(changed, from_end), options(1));
            CHECK(restore(other, 0, bytes, &text) == Status::kStateMismatch);
        }
    CHECK(text == "the buffer was saved with another model than " + path);
    Context same(copy("none", 0), options(1));
    CHECK(restore(same, 0, bytes) == Status::kOk);
}

TEST_CASE("what does not belong here is refused with the reason") {
    auto llama = load("llama");
    Context from(llama, options(1, 128));
    feed(from, 0, random_tokens(100));
    const Bytes bytes = saved(from, 0);
    std::string text;

    Context other_model(load("gemma3"), options(1));
    CHECK(restore(other_model, 0, bytes, &text) == Status::kStateMismatch);
    CHECK(text == "the buffer was saved with another model than tests/golden/arch/gemma3.gguf");
    ContextOptions half = options(1);
    half.cache_v = Format::kF16;
    Context other_format(llama, half);
    CHECK(restore(other_format, 0, bytes, &text) == Status::kStateMismatch);
    CHECK(text == "the buffer was saved from a cache of keys in F32 and values in F32; this context has F32 and F16");
    Context small(llama, options(1, 99));
    CHECK(restore(small, 0, bytes, &text) == Status::kContextFull);
    CHECK(text == "the buffer has 100 tokens; this context holds 99");
    Context exactly(llama, options(1, 100));
    CHECK(restore(exactly, 0, bytes) == Status::kOk);
    CHECK(exactly.room(0) == 0);

    Report report;
    Bytes too_small(bytes.size() - 1);
    CHECK(SequenceState(from, 0).save_buffer(too_small.data(), too_small.size(), nullptr, report) ==
          Status::kBufferTooSmall);
    const int32_t drafts[] = {1, 2}, parents[] = {-1, -1};
    Batch b;
    b.tokens = drafts;
    b.parents = parents;
    b.n = 2;
    REQUIRE(from.decode(b, report) == Status::kOk);
    CHECK(SequenceState(from, 0).save_buffer(too_small.data(), too_small.size(), nullptr, report) ==
          Status::kUnsupported);
    CHECK(std::string(report.text).find("remove it from position 100 on") != std::string::npos);
    Report ok;
    REQUIRE(SequenceState(from, 0).restore_buffer(bytes.data(), bytes.size(), ok) == Status::kOk);
    feed(from, 0, {1});  // the tree is gone
}

TEST_CASE("state of more bytes than the buffer passes through it in pieces") {
    auto model = load("qwen35");
    Context context(model, options(1));
    feed(context, 0, random_tokens(10));
    CacheMemory &memory = context.memory();
    const int32_t slot = context.cache().state_before(0);
    Bytes whole(memory.state_bytes()), pieces(whole.size());
    memory.read_state(slot, 0, whole.size(), whole.data());
    for (size_t i = 0; i < pieces.size(); i += 1000)
        memory.read_state(slot, i, std::min<size_t>(1000, pieces.size() - i), pieces.data() + i);
    CHECK(pieces == whole);
    for (std::byte &byte : pieces) byte ^= std::byte(255);
    for (size_t i = 0; i < pieces.size(); i += 1000)
        memory.write_state(slot, i, std::min<size_t>(1000, pieces.size() - i), pieces.data() + i);
    memory.read_state(slot, 0, whole.size(), whole.data());
    CHECK(pieces == whole);
}

TEST_CASE("files that cannot be written leave nothing behind") {
    Folder folder;
    auto model = load("llama");
    Context context(model, options(1));
    feed(context, 0, random_tokens(100));
    Report report;
    SequenceState state(context, 0);
    const std::string path = folder.path("state");
    CHECK(state.save_file(folder.path("none/state").c_str(), report) == Status::kIoError);
    CHECK(std::string(report.text).find(folder.path("none/state")) != std::string::npos);
    CHECK(state.restore_file(path.c_str(), report) == Status::kIoError);
    CHECK(std::string(report.text) == "cannot open " + path + ": No such file or directory");
    CHECK(folder.n_files() == 0);

    // A limit stands for a full disk.
    rlimit before, limit;
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    limit = before;
    limit.rlim_cur = 20000;
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    const Status status = state.save_file(path.c_str(), report);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
    std::signal(SIGXFSZ, handler);
    CHECK(status == Status::kIoError);
    CHECK(std::string(report.text) == "cannot write " + path + ": File too large");
    CHECK(folder.n_files() == 0);

    const Bytes bytes = saved(context, 0);
    Report ok;
    REQUIRE(state.save_file(path.c_str(), ok) == Status::kOk);
    CHECK(folder.n_files() == 1);
    CHECK(std::filesystem::file_size(path) == bytes.size());
    context.clear(0);
    REQUIRE(state.restore_file(path.c_str(), ok) == Status::kOk);
    CHECK(saved(context, 0) == bytes);
    std::filesystem::resize_file(path, 1000);
    CHECK(state.restore_file(path.c_str(), report) == Status::kFileTruncated);
    CHECK(std::string(report.text) == path + " is truncated: it ends at byte 1000 of " + std::to_string(bytes.size()));
    CHECK(saved(context, 0) == bytes);
}

TEST_CASE("a file that fails between its two readings leaves the sequence empty") {
    class Failing final : public StateSource {
      public:
        explicit Failing(const Bytes &bytes) : bytes_(bytes) {}
        const char *name() const noexcept override { return "the source"; }
        uint64_t size() const noexcept override { return bytes_.size(); }
        Status read(uint64_t offset, std::byte *to, size_t n, Report &report) noexcept override {
            n_read_ += n;
            if (n_read_ > 2 * bytes_.size() - 100) return report.set(Status::kIoError, "broken");
            std::memcpy(to, bytes_.data() + offset, n);
            return Status::kOk;
        }

      private:
        const Bytes &bytes_;
        size_t n_read_ = 0;
    };
    auto model = load("llama");
    Context context(model, options(1));
    const auto wanted = feed(context, 0, random_tokens(100));
    const Bytes bytes = saved(context, 0);
    Failing source(bytes);
    Report report;
    CHECK(SequenceState(context, 0).restore(source, report) == Status::kIoError);
    CHECK(context.length(0) == 0);
    CHECK(feed(context, 0, random_tokens(100)) == wanted);
}

TEST_CASE("kill -9 in the middle of a save loses nothing") {
    Folder folder;
    const std::string path = folder.path("state");
    auto model = load("llama");
    ContextOptions alone = options(2);
    alone.threads.threads = 1;  // a fork takes no other threads along
    Context context(model, alone);
    feed(context, 0, random_tokens(200, 1));
    feed(context, 1, random_tokens(200, 2));
    const Bytes either[] = {saved(context, 0), saved(context, 1)};
    Report report;
    REQUIRE(SequenceState(context, 0).save_file(path.c_str(), report) == Status::kOk);
    std::mt19937 random(1);
    for (int round = 0; round < 100; ++round) {
        CAPTURE(round);
        const pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0)
            for (uint32_t i = uint32_t(round);; ++i)
                if (SequenceState(context, i % 2).save_file(path.c_str(), report) != Status::kOk) _exit(1);
        usleep(500 + random() % 5000);
        REQUIRE(kill(child, SIGKILL) == 0);
        int status = 0;
        REQUIRE(waitpid(child, &status, 0) == child);
        REQUIRE(WIFSIGNALED(status));
        context.clear(0);
        REQUIRE_MESSAGE(SequenceState(context, 0).restore_file(path.c_str(), report) == Status::kOk, report.text);
        const Bytes found = saved(context, 0);
        REQUIRE((found == either[0] || found == either[1]));
        REQUIRE(restore(context, 0, either[0]) == Status::kOk);
        for (const auto &entry : std::filesystem::directory_iterator(folder.path(""))) {
            if (entry.path() == path) continue;
            CHECK(entry.path().string().find(path + ".") == 0);
            std::filesystem::remove(entry.path());
        }
    }
}
