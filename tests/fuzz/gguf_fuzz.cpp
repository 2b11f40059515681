// Fuzzes the reader of GGUF headers: any bytes give a model or an Error, and all of an accepted header can be read.
#include "base/status.h"
#include "model/gguf.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

using namespace el;

namespace {

void check(bool ok) {
    if (!ok) std::abort();
}

template <typename F> void attempt(F &&f) {
    try {
        f();
    } catch (const Error &e) {
        check(e.status() != Status::kInternal && e.status() != Status::kOk);
    }
}

void walk_metadata(const Metadata &m) {
    for (const Metadata::Entry &e : m.entries()) {
        check(m.find(e.key) == &e);
        (void)Metadata::to_text(e, 50);
        attempt([&] { m.get_uint(e.key); });
        attempt([&] { m.get_int(e.key); });
        attempt([&] { m.get_float(e.key); });
        attempt([&] { m.get_bool(e.key); });
        attempt([&] { m.get_string(e.key); });
        attempt([&] { m.get_ints(e.key); });
        attempt([&] { m.get_floats(e.key); });
        attempt([&] {
            uint64_t bytes = 0;
            StringArray strings = m.get_strings(e.key).value();
            for (std::string_view s : strings)
                for (char c : s) bytes += static_cast<unsigned char>(c);
            check(bytes != UINT64_MAX);
        });
    }
}

void walk_tensors(const GgufFile &file) {
    for (const TensorInfo &t : file.tensors()) {
        check(file.find_tensor(t.name) == &t);
        check(t.rows() * row_bytes(t.format, t.cols()) == t.bytes);
        check(t.offset >= file.data_offset(t.file) && t.offset % file.alignment() == 0);
        char data[256];
        const size_t n = std::min<uint64_t>(t.bytes, sizeof data);
        file.read_tensor(t, 0, data, n);
        file.read_tensor(t, t.bytes - n, data, n);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int fd = memfd_create("gguf_fuzz", MFD_CLOEXEC);
    check(fd >= 0 && write(fd, data, size) == static_cast<ssize_t>(size));
    attempt([&] {
        // Named like a part of a split model, so that the look for the others is reached.
        GgufFile file = GgufFile::open(File::from_fd(fd, "/nonexistent/fuzz-00001-of-00002.gguf"));
        walk_metadata(file.metadata());
        walk_tensors(file);
    });
    return 0;
}
