// Fuzzes saved sequences: any bytes are refused, and change nothing, or are a sequence that can go on.
#include "base/hash.h"
#include "state_contexts.h"

#include <cstring>

using namespace el;

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);  // libFuzzer's own

namespace {

struct Place {
    std::unique_ptr<Context> context;
    std::vector<std::byte> witness;  // sequence 0, which nothing may change
};

std::vector<Place> &places() {
    static std::vector<Place> all = [] {
        std::vector<Place> made;
        for (auto &context : state_contexts()) {
            feed(*context, 0, 40);
            auto witness = saved(*context, 0);
            made.push_back({std::move(context), std::move(witness)});
        }
        return made;
    }();
    return all;
}

// What a restored sequence can be asked for.
void use(Context &context) {
    const auto bytes = saved(context, 1);
    Report report;
    check(SequenceState(context, 1).restore_buffer(bytes.data(), bytes.size(), report) == Status::kOk);
    check(saved(context, 1) == bytes);
    const int32_t token = 1;
    Batch batch;
    batch.tokens = &token;
    batch.n = 1;
    batch.sequence = 1;
    const uint32_t room = context.room(1);
    const Status status = context.decode(batch, report);
    check(status == (room > 0 ? Status::kOk : Status::kContextFull));
    for (int32_t begin : {90, 40, 5}) {
        context.shift(1, begin, INT32_MAX, 1, report);
        context.remove(1, begin, begin + 3, report);
        context.remove(1, begin + 10, INT32_MAX, report);
    }
    context.clear(1);
}

constexpr size_t kBytesAt = 16, kModelAt = 24, kHeaderBytes = 88;  // of the header

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (Place &place : places()) {
        Report report;
        const Status status = SequenceState(*place.context, 1).restore_buffer(data, size, report);
        check(status == report.status && status != Status::kInternal);
        if (status == Status::kOk)
            use(*place.context);
        else
            check(*report.text && place.context->length(1) == 0);
        check(saved(*place.context, 0) == place.witness);
    }
    return 0;
}

// Most of the time numbers of the tables change, and length, model and checksum are made right again.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    static constexpr uint32_t kNumbers[] = {0,          1,          2,          3,   31,  32,       33,
                                            64,         96,         127,        128, 129, 1u << 20, 0x7fffffff,
                                            0x7ffffffe, 0x7fffffe0, 0x80000000, ~0u, 4,   16,       1u << 16};
    std::minstd_rand random(seed);
    if (size < kHeaderBytes + sizeof(uint64_t) || random() % 4 == 0) {
        size = LLVMFuzzerMutate(data, size, max_size);
    } else {
        const size_t at = random() % std::min<size_t>(size - sizeof(uint32_t), 700) / 4 * 4;
        std::memcpy(data + at, &kNumbers[random() % std::size(kNumbers)], sizeof(uint32_t));
    }
    if (size < kHeaderBytes + sizeof(uint64_t) || random() % 8 == 0) return size;
    const uint64_t bytes = size, model = places()[random() % places().size()].context->model().hash();
    std::memcpy(data + kBytesAt, &bytes, sizeof bytes);
    if (random() % 4 == 0) std::memcpy(data + kModelAt, &model, sizeof model);
    Hash64 hash;
    hash.add(data, size - sizeof(uint64_t));
    const uint64_t checksum = hash.digest();
    std::memcpy(data + size - sizeof checksum, &checksum, sizeof checksum);
    return size;
}
