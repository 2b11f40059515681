#include "backend/cuda/loader.h"
#include "backend/cuda/build_id.h"
#include "base/format.h"

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace el::cuda {
namespace {

constexpr char kFile[] = "libedgellm_cuda.so";

// The folder of the library or program that this code is part of, as the kernel has it: what a program is called by,
// and the working directory, say nothing about it. "" where it cannot be told.
std::string own_folder() {
    const auto here = reinterpret_cast<uintptr_t>(&load_module);
    std::ifstream maps("/proc/self/maps");  // lines like "7f00-7f10 r-xp 00000000 08:01 42   /usr/lib/libedgellm.so"
    for (std::string line; std::getline(maps, line);) {
        uintptr_t begin = 0, end = 0;
        const size_t slash = line.find('/');
        if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR, &begin, &end) == 2 && begin <= here && here < end)
            return slash == std::string::npos ? "" : line.substr(slash, line.rfind('/') - slash);
    }
    // Without /proc. The name of a program may be any word, and one that does not begin with "/" says no folder.
    Dl_info info;
    if (!dladdr(reinterpret_cast<const void *>(&load_module), &info) || !info.dli_fname) return "";
    const std::string_view path = info.dli_fname;
    return path.starts_with('/') ? std::string(path.substr(0, path.rfind('/'))) : "";
}

Loaded open(const std::string &path) {
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) return {nullptr, dlerror()};
    const auto entry = reinterpret_cast<Entry>(dlsym(library, kEntryName));
    const Sizes sizes;
    const Module *module = entry ? entry(&sizes) : nullptr;
    if (!module || module->struct_size != sizeof(Module) || std::strcmp(module->build, kBuildId) != 0)
        return {nullptr, path + " belongs to another build of libedgellm: take both from the same one"};
    return {module, ""};
}

Loaded find() {
    const char *named = secure_getenv("EDGELLM_CUDA_MODULE");
    if (named && *named) {
        if (*named != '/') return {nullptr, el::format("EDGELLM_CUDA_MODULE is '{}', not an absolute path", named)};
        return open(named);
    }
    // Installed, the module lies beside the library; a program that holds the library itself lies in bin, beside lib,
    // or in a build folder.
    std::vector<std::string> paths = {EDGELLM_LIBRARY_FOLDER "/" + std::string(kFile)};
    if (const std::string folder = own_folder(); !folder.empty())
        paths.insert(paths.begin(), {folder + "/" + kFile, folder + "/../lib/" + kFile, folder + "/../cuda/" + kFile,
                                     folder + "/../../cuda/" + kFile});
    for (const std::string &path : paths)
        if (access(path.c_str(), R_OK) == 0) return open(path);
    return {nullptr, "there is no " + paths[0] +
                         "; it is built where the CUDA toolkit is, and EDGELLM_CUDA_MODULE can name one"};
}

}  // namespace

const Loaded &load_module() {
    static const Loaded loaded = find();
    return loaded;
}

}  // namespace el::cuda
