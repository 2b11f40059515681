// Sequences used at random: whatever was forked, taken back, restored, taken over from others or cancelled, and
// whatever ran beside it, a sequence's logits are those of a plain run over its tokens.
#include "engine/state.h"
#include "engine_helpers.h"

using namespace el;

namespace {

class RandomUse {
  public:
    static constexpr uint32_t kSequences = 3, kStep = 40, kMost = 160;

    RandomUse(const char *name, uint32_t seed)
        : model_(load(name)), context_(model_, options()), plain_(model_, exact(kMost, 1)), random_(seed) {}

    void act() {
        const uint32_t s = below(kSequences);
        switch (below(8)) {
        case 0:
            return fork(s, (s + 1 + below(kSequences - 1)) % kSequences);
        case 1:
            return take_back(s, below(2) ? last_step_[s] : below(uint32_t(tokens_[s].size()) + 1));
        case 2:
            return save_and_restore(s, below(kSequences));
        case 3:
            return begin_anew(s);
        default:
            return step();
        }
    }

    size_t n_compared = 0, n_reused = 0, n_taken_back = 0;

  private:
    static ContextOptions options() {
        ContextOptions options = exact(kStep, 1);
        options.max_sequences = kSequences;
        return options;
    }
    uint32_t below(uint32_t n) { return uint32_t(random_() % n); }
    // Few different texts, so that beginnings are shared.
    int32_t next_token(uint32_t s) {
        return int32_t((tokens_[s].size() * 31 + (tokens_[s].size() < 90 ? 0 : below(3))) % 128);
    }

    void fork(uint32_t from, uint32_t to) {
        Report report;
        REQUIRE(context_.fork(from, to, report) == Status::kOk);
        tokens_[to] = tokens_[from];
    }
    void take_back(uint32_t s, uint32_t n) {
        Report report;
        const Status status = context_.remove(s, int32_t(n), INT32_MAX, report);
        REQUIRE((status == Status::kOk || status == Status::kUnsupported));
        if (status != Status::kOk) return;
        n_taken_back += n < tokens_[s].size();
        tokens_[s].resize(std::min<size_t>(n, tokens_[s].size()));
    }
    void save_and_restore(uint32_t from, uint32_t to) {
        SequenceState state(context_, from);
        std::vector<std::byte> bytes(state.bytes());
        Report report;
        REQUIRE(state.save_buffer(bytes.data(), bytes.size(), nullptr, report) == Status::kOk);
        REQUIRE(SequenceState(context_, to).restore_buffer(bytes.data(), bytes.size(), report) == Status::kOk);
        tokens_[to] = tokens_[from];
    }
    void begin_anew(uint32_t s) {
        context_.clear(s);
        tokens_[s].clear();
        std::vector<int32_t> prompt;
        for (uint32_t n = 1 + below(kMost / 2); prompt.size() < n;) {
            prompt.push_back(next_token(s));
            tokens_[s].push_back(prompt.back());
        }
        const uint32_t reused = context_.reuse_prefix(s, prompt);
        n_reused += reused;
        tokens_[s].resize(reused);
    }

    // Some tokens for some sequences, in any order; now and then too late.
    void step() {
        std::vector<int32_t> tokens, sequences;
        const std::vector<std::vector<int32_t>> before(tokens_, tokens_ + kSequences);
        std::vector<uint8_t> outputs;
        for (uint32_t n = 1 + below(kStep); tokens.size() < n;) {
            const uint32_t s = below(kSequences);
            if (tokens_[s].size() < kMost) {
                tokens.push_back(next_token(s));
                tokens_[s].push_back(tokens.back());
                sequences.push_back(int32_t(s));
            } else if (below(3) == 0) {
                break;
            }
        }
        if (tokens.empty()) return;
        const bool late = below(6) == 0;
        if (late) context_.cancel();
        outputs.resize(tokens.size());
        std::vector<uint32_t> last;  // sequences, in the order of their last tokens
        for (size_t i = tokens.size(); i-- > 0;)
            if (std::find(last.begin(), last.end(), uint32_t(sequences[i])) == last.end()) {
                outputs[i] = 1;
                last.insert(last.begin(), uint32_t(sequences[i]));
            }
        Batch b;
        b.tokens = tokens.data();
        b.sequences = sequences.data();
        b.outputs = outputs.data();
        b.n = tokens.size();
        Report report;
        const Status status = context_.decode(b, report);
        REQUIRE_MESSAGE(status == (late ? Status::kCancelled : Status::kOk), report.text);
        if (late) std::copy(before.begin(), before.end(), tokens_);
        for (uint32_t s : last) last_step_[s] = uint32_t(before[s].size());
        if (const uint32_t row = below(uint32_t(last.size())); !late) compare(last[row], row);
        for (uint32_t s = 0; s < kSequences; ++s) REQUIRE(context_.length(s) == tokens_[s].size());
    }
    void compare(uint32_t s, uint32_t row) {
        plain_.clear(0);
        Batch b;
        b.tokens = tokens_[s].data();
        b.n = tokens_[s].size();
        Report report;
        REQUIRE(plain_.decode(b, report) == Status::kOk);
        REQUIRE(std::equal(plain_.logits(0), plain_.logits(0) + model_->n_vocab(), context_.logits(row)));
        ++n_compared;
    }

    std::shared_ptr<const Model> model_;
    Context context_, plain_;
    std::mt19937 random_;
    std::vector<int32_t> tokens_[kSequences];
    uint32_t last_step_[kSequences] = {};  // tokens before it
};

}  // namespace

TEST_CASE("used at random, sequences say what a plain run says") {
    for (const char *name : {"llama", "gemma3", "gpt-oss", "gemma4", "lfm2", "granite-hybrid"}) {
        CAPTURE(name);
        RandomUse use(name, 1);
        for (int i = 0; i < 80; ++i) use.act();
        CHECK(use.n_compared > 20);
        CHECK(use.n_taken_back > 0);
        if (std::string(name) == "llama") CHECK(use.n_reused > 0);
    }
}
