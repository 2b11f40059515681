// What differs between kinds of vocabularies: how text without special tokens becomes ids.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace el {

class TokenModel {
  public:
    virtual ~TokenModel() = default;
    // Appends the ids of `text`, which may be any bytes. Called by many threads.
    virtual void encode(std::string_view text, std::vector<int32_t> &out) const = 0;
    // Whether BOS is put first where the file does not say.
    virtual bool adds_bos() const { return false; }
};

}  // namespace el
