// An emulated libnvrtc: the entry points that `kernels::cuda` calls. A program is compiled by the C++
// compiler of the machine; what stands for the machine code is the shared library that comes out.
//
// A kernel is an `extern "C" __global__` function. Its launcher, which takes the parameters as
// cuLaunchKernel gives them, is written here, after its name is found in the text.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <vector>

// Both are paths that the builder of this library gives.
#ifndef EMULATOR_FOLDER
#error "EMULATOR_FOLDER is where cuda.h lies"
#endif
#ifndef EMULATOR_COMPILER
#error "EMULATOR_COMPILER is the C++ compiler, with the options that all code gets"
#endif

namespace {

enum Result { SUCCESS = 0, OUT_OF_MEMORY = 1, COMPILATION = 6 };

struct Program {
    std::string text, name, log;
    std::map<std::string, std::string> headers;
    std::vector<char> image;
};

void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

std::vector<char> read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

bool is_word(char it) { return isalnum(static_cast<unsigned char>(it)) || it == '_'; }

// The names of the functions that are kernels: the word before the bracket that follows
// `__global__`, other than `__launch_bounds__`.
std::vector<std::string> kernels(const std::string& text) {
    std::vector<std::string> names;
    const std::string mark = "__global__", bounds = "__launch_bounds__";
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
        size_t open = text.find('(', at);
        const size_t limits = text.find(bounds, at);
        if (limits != std::string::npos && limits < open) open = text.find('(', text.find(')', open));
        if (open == std::string::npos) break;
        size_t end = open;
        while (end > at && !is_word(text[end - 1])) --end;
        size_t start = end;
        while (start > at && is_word(text[start - 1])) --start;
        names.push_back(text.substr(start, end - start));
    }
    return names;
}

const char* const LAUNCHER = R"(
namespace emulator {
template <class T> struct Plain { typedef T type; };
template <class T> struct Plain<const T> { typedef T type; };
template <unsigned... N> struct Places {};
template <unsigned N, unsigned... Rest> struct UpTo : UpTo<N - 1, N - 1, Rest...> {};
template <unsigned... Rest> struct UpTo<0, Rest...> { typedef Places<Rest...> type; };
template <class... P, unsigned... N>
static inline void call(void (*kernel)(P...), void** from, Places<N...>) {
    kernel(*static_cast<typename Plain<P>::type*>(from[N])...);
}
template <class... P>
static inline void call(void (*kernel)(P...), void** from) {
    call(kernel, from, typename UpTo<sizeof...(P)>::type());
}
// How many parameters there are, and their sizes, as far as there is room.
template <class... P>
static inline unsigned sizes(void (*)(P...), unsigned* to, unsigned room) {
    const unsigned all[] = {sizeof(P)..., 0};
    for (unsigned i = 0; i < sizeof...(P) && i < room; ++i) to[i] = all[i];
    return sizeof...(P);
}
}
)";

// A sanitizer that is loaded before all else is for the kernels, not for the compiler; and a step of a
// workflow has no search path, which the compiler needs.
int run(const std::string& command) {
    const pid_t child = fork();
    if (child == 0) {
        unsetenv("LD_PRELOAD");
        setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 0);
        execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
        _exit(127);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) return 128;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

std::string defines(int n, const char* const* options) {
    std::string all;
    for (int i = 0; i < n; ++i)
        if (strncmp(options[i], "-D", 2) == 0) all += " '" + std::string(options[i]) + "'";
    return all;
}

Result compile(Program& program, int n_options, const char* const* options) {
    const char* base = getenv("TMPDIR");
    std::string folder = std::string(base ? base : "/tmp") + "/kun-emulator-XXXXXX";
    if (!mkdtemp(folder.data())) return OUT_OF_MEMORY;
    for (const auto& [name, text] : program.headers) write(folder + "/" + name, text);
    // Our own headers of PTX instead of those that came along.
    for (const std::string name : {"/ptx.cuh", "/hopper.cuh"}) {
        const std::vector<char> twin = read(EMULATOR_FOLDER + name);
        write(folder + name, std::string(twin.begin(), twin.end()));
    }
    std::ostringstream text;
    text << "#line 1 \"" << program.name << "\"\n" << program.text << LAUNCHER;
    for (const std::string& it : kernels(program.text))
        text << "extern \"C\" void emulator_launch_" << it << "(void** from) { emulator::call(&" << it
             << ", from); }\n"
             << "extern \"C\" unsigned emulator_sizes_" << it << "(unsigned* to, unsigned room) { return emulator::sizes(&"
             << it << ", to, room); }\n";
    write(folder + "/kernel.cpp", text.str());
    const std::string command = EMULATOR_COMPILER " -shared -include " EMULATOR_FOLDER "/cuda.h -I " + folder +
                                defines(n_options, options) + " -o " + folder + "/kernel.so " + folder +
                                "/kernel.cpp > " + folder + "/log 2>&1";
    const int status = run(command);
    const std::vector<char> log = read(folder + "/log");
    program.log.assign(log.begin(), log.end());
    if (status == 0) program.image = read(folder + "/kernel.so");
    run("rm -rf " + folder);
    return status == 0 && !program.image.empty() ? SUCCESS : COMPILATION;
}

}  // namespace

extern "C" {

int nvrtcVersion(int* major, int* minor) {
    *major = 13;
    *minor = 0;
    return SUCCESS;
}

const char* nvrtcGetErrorString(int result) {
    return result == COMPILATION ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR";
}

int nvrtcCreateProgram(void** program, const char* text, const char* name, int n_headers,
                       const char* const* headers, const char* const* names) {
    auto* it = new Program{text, name ? name : "kernel.cu", {}, {}, {}};
    for (int i = 0; i < n_headers; ++i) it->headers[names[i]] = headers[i];
    *program = it;
    return SUCCESS;
}

int nvrtcDestroyProgram(void** program) {
    delete static_cast<Program*>(*program);
    *program = nullptr;
    return SUCCESS;
}

int nvrtcCompileProgram(void* program, int n, const char* const* options) {
    return compile(*static_cast<Program*>(program), n, options);
}

int nvrtcGetProgramLogSize(void* program, size_t* size) {
    *size = static_cast<Program*>(program)->log.size() + 1;
    return SUCCESS;
}

int nvrtcGetProgramLog(void* program, char* log) {
    const Program& it = *static_cast<Program*>(program);
    memcpy(log, it.log.c_str(), it.log.size() + 1);
    return SUCCESS;
}

int nvrtcGetCUBINSize(void* program, size_t* size) {
    *size = static_cast<Program*>(program)->image.size();
    return SUCCESS;
}

int nvrtcGetCUBIN(void* program, char* image) {
    const Program& it = *static_cast<Program*>(program);
    memcpy(image, it.image.data(), it.image.size());
    return SUCCESS;
}

}  // extern "C"
