// What differs between kinds of vocabularies: how text without special tokens becomes ids.
#pragma once
#include "base/log.h"
#include "text/token_table.h"

namespace el {

// What a kind is made from. Of these only `bytes` outlives the construction.
struct ModelInput {
    const Metadata &metadata;
    const TokenTable &table;
    const TokenBytes &bytes;
    int32_t unk;  // -1: none
    const Log &log;
};

class TokenModel {
  public:
    virtual ~TokenModel() = default;
    // Appends the ids of `text`, which may be any bytes and either begins the whole text or follows a special token.
    // Called by many threads.
    virtual void encode(std::string_view text, std::vector<int32_t> &out) const = 0;
    // Whether BOS is put first where the file does not say.
    virtual bool adds_bos() const { return false; }
    // Whether `encode` puts a space before the text, which is none of it.
    virtual bool adds_space() const { return false; }
    virtual size_t memory_bytes() const = 0;
};

}  // namespace el
