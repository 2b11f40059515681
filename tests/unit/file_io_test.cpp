// Replacing a file: what has to be on the disk before what, and what is left when a step of it fails. The system's
// calls are watched, as no test can cut the power.
#include "base/file_io.h"

#include <cerrno>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

using namespace el;

namespace {

struct Watch {
    std::vector<std::string> calls;
    std::string failing;  // call
    int error = 0;

    bool fails(const std::string &call) {
        calls.push_back(call);
        if (call != failing) return false;
        errno = error;
        return true;
    }
};
Watch *watch = nullptr;

}  // namespace

// In the place of the C library's.
extern "C" int fsync(int fd) {
    struct stat info {};
    if (watch && fstat(fd, &info) == 0 && watch->fails(S_ISDIR(info.st_mode) ? "sync folder" : "sync file")) return -1;
    return int(syscall(SYS_fsync, fd));
}
extern "C" int rename(const char *from, const char *to) noexcept {
    if (watch && watch->fails("rename")) return -1;
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

namespace {

std::string content(const std::string &path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

size_t n_files(const std::string &folder) {
    return size_t(std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()));
}

// Replaces "old" by "new", while a call fails.
Status replace(const std::string &path, Watch &with) {
    std::ofstream(path) << "old";
    Report report;
    ReplacementFile file(path.c_str());
    watch = &with;
    if (file.open(report) == Status::kOk &&
        file.write(reinterpret_cast<const std::byte *>("new"), 3, report) == Status::kOk)
        file.commit(report);
    watch = nullptr;
    return report.status;
}

}  // namespace

TEST_CASE("a file is on the disk before its name is, and its name before it counts as replaced") {
    char folder[] = "/tmp/edgellm-file-XXXXXX";
    REQUIRE(mkdtemp(folder));
    const std::string path = std::string(folder) + "/file";
    Watch all;
    CHECK(replace(path, all) == Status::kOk);
    CHECK(all.calls == std::vector<std::string>{"sync file", "rename", "sync folder"});
    CHECK(content(path) == "new");
    for (const char *call : {"sync file", "rename"}) {
        CAPTURE(call);
        Watch one{{}, call, EIO};
        CHECK(replace(path, one) == Status::kIoError);
        CHECK(content(path) == "old");
        CHECK(n_files(folder) == 1);
    }
    Watch lost{{}, "sync folder", EIO}, unknown{{}, "sync folder", EINVAL};
    CHECK(replace(path, lost) == Status::kIoError);
    CHECK(replace(path, unknown) == Status::kOk);  // of a file system that cannot
    CHECK(content(path) == "new");
    CHECK(n_files(folder) == 1);
    std::filesystem::remove_all(folder);
}
