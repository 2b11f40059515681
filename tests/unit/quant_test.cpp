// Block formats against recorded blocks, and the encoders against error bounds and hostile values.
#include "quant/formats.h"
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

using namespace el;

namespace {
std::vector<char> read_golden(const std::string &name) {
    std::ifstream file("tests/golden/quants/" + name, std::ios::binary);
    REQUIRE_MESSAGE(file.good(), name);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<float> read_floats(const std::string &name) {
    std::vector<char> bytes = read_golden(name);
    std::vector<float> values(bytes.size() / sizeof(float));
    memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
    return values;
}

std::vector<float> decode(const FormatInfo &info, const char *blocks, size_t n) {
    std::vector<float> out(n);
    info.decode(blocks, n, out.data());
    return out;
}

std::vector<char> encode(const FormatInfo &info, const std::vector<float> &in) {
    std::vector<char> blocks(row_bytes(info.format, in.size()));
    info.encode(in.data(), in.size(), blocks.data());
    return blocks;
}

double squared_error(const float *a, const float *b, size_t n) {
    double error = 0;
    for (size_t i = 0; i < n; i++) error += (double(a[i]) - b[i]) * (double(a[i]) - b[i]);
    return error;
}

// Norm of the error of encoding and decoding `in`, relative to the norm of `in`.
double round_trip_error(Format format, const std::vector<float> &in) {
    const FormatInfo &info = format_info(format);
    std::vector<float> out = decode(info, encode(info, in).data(), in.size()), zero(in.size());
    return std::sqrt(squared_error(in.data(), out.data(), in.size()) /
                     squared_error(in.data(), zero.data(), in.size()));
}

bool quantized(const FormatInfo &info) { return info.values > 1; }

template <typename Check> void for_each_info(Check &&check) {
    for_each_format([&](auto type) {
        const FormatInfo &info = format_info(decltype(type)::type::kFormat);
        INFO(std::string(info.name));
        check(info);
    });
}
}  // namespace

TEST_CASE("formats are found by number and by name") {
    size_t count = 0;
    for (uint32_t type = 0; type < 300; type++) {
        const FormatInfo *info = find_format(type);
        if (!info) continue;
        count++;
        CHECK(uint32_t(info->format) == type);
        CHECK(find_format(std::string_view(info->name)) == info);
        CHECK(&format_info(info->format) == info);
    }
    CHECK(count == 26);
    CHECK(find_format(0xffffffffu) == nullptr);
    CHECK(find_format("q4_k") == &format_info(Format::kQ4_K));
    CHECK(find_format("bf16") == &format_info(Format::kBF16));
    CHECK(find_format("Q4_") == nullptr);
    CHECK(find_format("Q4_KX") == nullptr);
    CHECK(find_format("") == nullptr);
    CHECK(row_bytes(Format::kQ6_K, 512) == 420);
    CHECK(row_bytes(Format::kF16, 3) == 6);
}

TEST_CASE("16-bit floats convert exactly and round to nearest even") {
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f16 = f16_to_f32(uint16_t(h)), bf16 = bf16_to_f32(uint16_t(h));
        bool f16_nan = (h & 0x7fff) > 0x7c00, bf16_nan = (h & 0x7fff) > 0x7f80;
        if (std::isnan(f16) != f16_nan || (f16_nan ? !std::isnan(f16_to_f32(f32_to_f16(f16))) : f32_to_f16(f16) != h)) {
            FAIL("float16 ", h);
        }
        if (std::isnan(bf16) != bf16_nan ||
            (bf16_nan ? !std::isnan(bf16_to_f32(f32_to_bf16(bf16))) : f32_to_bf16(bf16) != h)) {
            FAIL("bfloat16 ", h);
        }
    }
    // Between each float16 and the next: the middle goes to the even one, its float32 neighbours to the nearer one.
    for (uint32_t h = 0; h < 0x7bff; h++) {
        float middle = 0.5f * (f16_to_f32(uint16_t(h)) + f16_to_f32(uint16_t(h + 1)));
        bool right = f32_to_f16(middle) == h + (h & 1) && f32_to_f16(std::nextafterf(middle, 0)) == h &&
                     f32_to_f16(-std::nextafterf(middle, INFINITY)) == (0x8000 | (h + 1));
        if (!right) FAIL("middle above ", h);
    }
    CHECK(f16_to_f32(0x0001) == 0x1p-24f);
    CHECK(f16_to_f32(0x3555) == 0.333251953125f);
    CHECK(f16_to_f32(0xfbff) == -65504.0f);
    CHECK(f32_to_f16(65519.0f) == 0x7bff);
    CHECK(f32_to_f16(65520.0f) == 0x7c00);
    CHECK(f32_to_f16(-INFINITY) == 0xfc00);
    CHECK(f32_to_f16(1e-40f) == 0);
    CHECK(f32_to_bf16(bits_float(0x3f808000)) == 0x3f80);
    CHECK(f32_to_bf16(bits_float(0x3f818000)) == 0x3f82);
    CHECK(f32_to_bf16(std::numeric_limits<float>::max()) == 0x7f80);
}

TEST_CASE("blocks decode to the recorded values") {
    for_each_info([](const FormatInfo &info) {
        if (info.format == Format::kF32 || info.format == Format::kF16) return;  // nothing recorded: tested above
        std::vector<char> blocks = read_golden(std::string(info.name) + ".blocks");
        std::vector<float> expected = read_floats(std::string(info.name) + ".f32");
        REQUIRE(blocks.size() == row_bytes(info.format, expected.size()));
        blocks.insert(blocks.begin(), 'x');  // no alignment
        std::vector<float> got = decode(info, blocks.data() + 1, expected.size());
        for (size_t i = 0; i < got.size(); i++) {
            if (!(std::fabs(got[i] - expected[i]) <= 1e-6f * std::fabs(expected[i]))) {
                FAIL_CHECK("value ", i, ": ", got[i], " for ", expected[i]);
            }
        }
    });
}

TEST_CASE("encoders are as good as the recorded round-to-nearest blocks") {
    std::vector<float> in = read_floats("encode.input.f32");
    for (Format format : {Format::kQ4_0, Format::kQ4_1, Format::kQ5_0, Format::kQ5_1, Format::kQ8_0, Format::kBF16,
                          Format::kTQ1_0, Format::kTQ2_0, Format::kMXFP4}) {
        const FormatInfo &info = format_info(format);
        INFO(std::string(info.name));
        std::vector<char> expected = read_golden(std::string("encode.") + info.name + ".blocks"),
                          got = encode(info, in);
        REQUIRE(expected.size() == got.size());
        std::vector<float> expected_values = decode(info, expected.data(), in.size());
        std::vector<float> values = decode(info, got.data(), in.size());
        for (size_t i = 0; i < in.size(); i += info.values) {
            const char *a = &got[row_bytes(format, i)], *b = &expected[row_bytes(format, i)];
            if (memcmp(a, b, info.bytes) == 0) continue;
            double error = squared_error(&in[i], &values[i], info.values);
            double bound = squared_error(&in[i], &expected_values[i], info.values);
            CHECK_MESSAGE(error <= bound, "block ", i / info.values);
        }
    }
}

TEST_CASE("IQ1, IQ2 and IQ3 are only read") {
    for_each_info([](const FormatInfo &info) {
        std::string name = info.name;
        CHECK((info.encode == nullptr) == (name.rfind("IQ", 0) == 0 && name[2] < '4'));
    });
}

TEST_CASE("what is encoded decodes to nearly the same") {
    struct Bound {
        Format format;
        double normal, shifted;  // relative error on normal values, and on those with a mean of 1.5 deviations
    };
    const Bound bounds[] = {{Format::kF32, 0, 0},
                            {Format::kF16, 3e-4, 3e-4},
                            {Format::kBF16, 2e-3, 2e-3},
                            {Format::kQ4_0, 0.088, 0.073},
                            {Format::kQ4_1, 0.080, 0.045},
                            {Format::kQ5_0, 0.044, 0.037},
                            {Format::kQ5_1, 0.039, 0.022},
                            {Format::kQ8_0, 0.0055, 0.0046},
                            {Format::kQ2_K, 0.263, 0.158},
                            {Format::kQ3_K, 0.146, 0.118},
                            {Format::kQ4_K, 0.0715, 0.040},
                            {Format::kQ5_K, 0.0355, 0.0197},
                            {Format::kQ6_K, 0.0168, 0.0143},
                            {Format::kIQ4_NL, 0.075, 0.0665},
                            {Format::kIQ4_XS, 0.0755, 0.067},
                            {Format::kTQ1_0, 0.442, 0.377},
                            {Format::kTQ2_0, 0.442, 0.377},
                            {Format::kMXFP4, 0.114, 0.107},
                            {Format::kNVFP4, 0.0905, 0.0845}};
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> in(64 * 256), shifted(in.size());
    for (size_t i = 0; i < in.size(); i++) {
        in[i] = 0.02f * normal(random);
        shifted[i] = in[i] + 0.03f;
    }
    for (const Bound &bound : bounds) {
        INFO(std::string(format_info(bound.format).name));
        CHECK(round_trip_error(bound.format, in) <= bound.normal);
        CHECK(round_trip_error(bound.format, shifted) <= bound.shifted);
    }
}

// The simplest encoders: the value farthest from 0 becomes the end of the table, the rest the nearest there is.
template <int n> float plain_error(const ValueTable &table, float scale, const float *x) {
    uint8_t q[n];
    return choose_indexes<n>(table, scale, x, q);
}

TEST_CASE("searching for scales is better than taking the largest value") {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    std::vector<float> in(64 * 256), out;
    for (float &x : in) x = normal(random);
    double iq4 = 0, nvfp4 = 0;
    for (size_t i = 0; i < in.size(); i += 16) {
        auto farthest = [&](size_t n) {
            return *std::max_element(&in[i], &in[i] + n, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
        };
        float sixth = std::fabs(farthest(16)) / 6, step = std::exp2(std::floor(std::log2(sixth)) - 3);
        nvfp4 += plain_error<16>(kE2m1Values, std::nearbyint(sixth / step) * step * kE2m1Values.unit, &in[i]);
        if (i % 32 == 0) iq4 += plain_error<32>(kIq4Values, f16_to_f32(f32_to_f16(farthest(32) / -127)), &in[i]);
    }
    for (auto [format, bound] : {std::pair(Format::kIQ4_NL, iq4), {Format::kIQ4_XS, iq4}, {Format::kNVFP4, nvfp4}}) {
        const FormatInfo &info = format_info(format);
        INFO(std::string(info.name));
        out = decode(info, encode(info, in).data(), in.size());
        CHECK(squared_error(in.data(), out.data(), in.size()) < 0.97 * bound);
    }
}

TEST_CASE("what was decoded is encoded to the same values") {
    std::mt19937 random(4);
    std::normal_distribution<float> normal;
    std::vector<float> in(64 * 256);
    for (float &x : in) x = normal(random);
    for (Format format : {Format::kTQ1_0, Format::kTQ2_0, Format::kMXFP4, Format::kNVFP4, Format::kIQ4_NL}) {
        const FormatInfo &info = format_info(format);
        INFO(std::string(info.name));
        std::vector<float> once = decode(info, encode(info, in).data(), in.size());
        std::vector<float> twice = decode(info, encode(info, once).data(), in.size());
        CHECK(once == twice);
    }
}

TEST_CASE("values of any size round trip as far as float16 scales reach") {
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    std::vector<float> in(4 * 256);
    for (float size : {1e-4f, 1.0f, 1e4f}) {
        for (float &x : in) x = size * normal(random);
        for_each_info([&](const FormatInfo &info) {
            if (!info.encode || (info.format == Format::kNVFP4 && size != 1)) return;  // NVFP4: 2^-10 .. 2688
            bool ternary = info.format == Format::kTQ1_0 || info.format == Format::kTQ2_0;
            CHECK(round_trip_error(info.format, in) < (ternary ? 0.46 : info.format == Format::kQ2_K ? 0.3 : 0.17));
        });
    }
}

TEST_CASE("encoders accept every value") {
    const float inf = INFINITY, nan = NAN, max = std::numeric_limits<float>::max(), tiny = 1e-42f;
    for_each_info([&](const FormatInfo &info) {
        if (!quantized(info) || !info.encode) return;
        std::vector<float> zero(256), out = decode(info, encode(info, zero).data(), 256);
        CHECK(out == zero);
        for (float value : {inf, -inf, nan, max, -max, 1e9f, 65504.0f, -70000.0f, tiny, 1e-8f, -1e-20f}) {
            for (size_t step : {1, 3, 256}) {  // everywhere, here and there, once
                std::vector<float> in(256, -0.25f);
                for (size_t i = 0; i < in.size(); i += step) in[i] = value;
                out = decode(info, encode(info, in).data(), 256);
                for (float x : out) {
                    if (!std::isfinite(x)) FAIL("value ", value, " every ", step, " decodes to ", x);
                }
            }
        }
        // One NaN counts as 0 and changes nothing else.
        std::vector<float> in(256);
        for (size_t i = 0; i < in.size(); i++) in[i] = std::sin(float(i));
        in[100] = 0;
        std::vector<char> expected = encode(info, in);
        in[100] = nan;
        CHECK(encode(info, in) == expected);
    });
    for (Format format : {Format::kF32, Format::kF16, Format::kBF16}) {
        std::vector<float> in{inf, -inf, nan, 0.0f, -0.0f};
        std::vector<float> out = decode(format_info(format), encode(format_info(format), in).data(), in.size());
        CHECK(out[0] == inf);
        CHECK(out[1] == -inf);
        CHECK(std::isnan(out[2]));
        CHECK(std::signbit(out[4]));
    }
}
