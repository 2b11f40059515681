#include "backend/cuda/loader.h"
#include "backend/cuda/build_id.h"

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <unistd.h>
#include <vector>

namespace el::cuda {
namespace {

constexpr char kFile[] = "libedgellm_cuda.so";

// The folder of the library or program that this code is part of.
std::string own_folder() {
    Dl_info info;
    if (!dladdr(reinterpret_cast<const void *>(&load_module), &info) || !info.dli_fname) return "";
    char *real = realpath(info.dli_fname, nullptr);
    std::string path = real ? real : "";
    std::free(real);
    return path.substr(0, path.rfind('/'));
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
    if (const char *path = secure_getenv("EDGELLM_CUDA_MODULE")) {
        if (path[0] != '/') return {nullptr, "EDGELLM_CUDA_MODULE is not an absolute path"};
        return open(path);
    }
    const std::string folder = own_folder();
    if (folder.empty()) return {nullptr, "the folder of libedgellm cannot be told"};
    // Installed, the module lies beside the library; a program that holds the library itself lies in bin, beside lib,
    // or in a build folder.
    const std::vector<std::string> paths = {folder + "/" + kFile, folder + "/../lib/" + kFile,
                                            folder + "/../cuda/" + kFile, folder + "/../../cuda/" + kFile,
                                            EDGELLM_LIBRARY_FOLDER "/" + std::string(kFile)};
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
