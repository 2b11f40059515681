// The `edgellm` program. Exit status: 0, 1 (failed; a sentence on standard error) or 2 (bad usage).
#include "commands.h"
#include "interrupt.h"
#include "output.h"

#include "base/status.h"

#include <edgellm/edgellm.hpp>

#include <cerrno>
#include <fcntl.h>
#include <new>
#include <sstream>

namespace {

enum ExitStatus { kDone = 0, kFailed = 1, kBadUsage = 2 };

int report(ExitStatus status, std::string_view sentence, bool keep_lines = false) {
    tool::note("edgellm: {}", tool::printable(sentence, keep_lines));
    return status;
}

// Its text may be the template's own, which is told as it is.
bool is_of_template(const std::exception &error) {
    if (auto *own = dynamic_cast<const el::Error *>(&error)) return own->status() == el::Status::kTemplateFailed;
    auto *of_library = dynamic_cast<const edgellm::Error *>(&error);
    return of_library && of_library->status() == EDGELLM_TEMPLATE_FAILED;
}

// Without this a wrong command would only be told to be an unexpected argument.
void check_command(const CLI::App &program, int argc, char **argv) {
    if (argc < 2 || argv[1][0] == '-') return;
    for (const CLI::App *command : program.get_subcommands({}))
        if (command->check_name(argv[1])) return;
    throw tool::UsageError(el::format("there is no command '{}'; edgellm --help lists them", argv[1]));
}

// A file opened later would take the place of a standard stream that is closed. Standard output then still fails, so
// that no result is lost in silence.
void open_standard_streams() {
    for (int fd : {0, 1, 2})
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF) open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY);
}

int run_program(int argc, char **argv) {
    CLI::App program{"Runs language models. edgellm COMMAND --help says what a command takes.", "edgellm"};
    program.require_subcommand(1);
    program.set_version_flag("--version", std::string("edgellm ") + edgellm_version_string());
    for (auto add : {tool::add_run, tool::add_tokenize, tool::add_detokenize, tool::add_template, tool::add_logits,
                     tool::add_perplexity, tool::add_inspect, tool::add_plan, tool::add_bench, tool::add_profile,
                     tool::add_synth, tool::add_devices, tool::add_models})
        add(program);
    try {
        check_command(program, argc, argv);
        program.parse(argc, argv);
    } catch (const CLI::ParseError &error) {
        std::ostringstream help, unused;
        if (program.exit(error, help, unused) != 0) return report(kBadUsage, error.what());
        tool::put(help.str());
    }
    tool::flush();
    return kDone;
}

}  // namespace

int main(int argc, char **argv) {
    open_standard_streams();
    try {
        tool::catch_signals();
        return run_program(argc, argv);
    } catch (const tool::UsageError &error) {
        return report(kBadUsage, error.what());
    } catch (const std::bad_alloc &) {
        return report(kFailed, "there is not enough memory");
    } catch (const std::exception &error) {
        return report(kFailed, error.what(), is_of_template(error));
    }
}
