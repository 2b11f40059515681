// Text as Python sees it, over UTF-8: code points, white space, letter case. Bytes that are no UTF-8 count as one
// code point each.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace el {

// All of a text such as "-1.5e3", whatever the locale; what is too large is infinite. False if it is no number.
bool read_float(std::string_view text, double &out);
uint32_t next_code_point(std::string_view text, size_t &at);      // needs at < text.size()
uint32_t previous_code_point(std::string_view text, size_t &at);  // needs at > 0; leaves `at` at its start
void append_utf8(std::string &out, uint32_t code);                // U+FFFD for what no UTF-8 can hold
bool is_valid_utf8(std::string_view text, size_t &bad_at);
size_t count_code_points(std::string_view text);
size_t byte_offset(std::string_view text, size_t code_points);  // of the code point with that index, or the size

bool is_space(uint32_t code);      // str.isspace
bool is_printable(uint32_t code);  // str.isprintable
bool is_letter(uint32_t code);     // nearly str.isalpha: beyond ASCII what is neither space, sign nor control
bool is_digit(uint32_t code);
bool is_upper(uint32_t code);
bool is_lower(uint32_t code);

// Letters of any script change case. Where a capital is several letters, as for ligatures, only that of the German
// sharp s is written so; the others stay.
uint32_t to_upper(uint32_t code);
uint32_t to_lower(uint32_t code);
uint32_t to_title(uint32_t code);  // at the beginning of a word
std::string upper_text(std::string_view text);
std::string lower_text(std::string_view text);
std::string capitalize_text(std::string_view text);
std::string title_text(std::string_view text);
std::string swapcase_text(std::string_view text);

enum StripSides { kStripLeft = 1, kStripRight = 2, kStripBoth = 3 };
std::string_view strip_text(std::string_view text, StripSides sides);                                // white space
std::string_view strip_text(std::string_view text, std::string_view code_points, StripSides sides);  // any of these

// Where `needle` starts in `text` at or after `from`, in linear time; npos if nowhere.
size_t find_text(std::string_view text, std::string_view needle, size_t from = 0);
std::string replace_text(std::string_view text, std::string_view from, std::string_view to, int64_t count = -1);

size_t count_text(std::string_view text, std::string_view needle);                 // occurrences that do not overlap
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);  // str.splitlines

}  // namespace el
