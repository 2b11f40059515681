#include "interrupt.h"
#include "output.h"

#include <atomic>
#include <csignal>
#include <unistd.h>

namespace tool {
namespace {

std::atomic<bool> got_interrupt{false}, got_end{false}, with_person{false};
std::atomic<edgellm_context *> working{nullptr};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<edgellm_context *>::is_always_lock_free);

void on_signal(int signal) {
    bool first = !got_interrupt.exchange(true);
    if (signal != SIGINT) got_end = true;
    if (!first && !(with_person && signal == SIGINT)) _exit(1);
    if (edgellm_context *context = working) edgellm_context_cancel(context);
}

}  // namespace

void catch_signals() {
    struct sigaction action = {};
    action.sa_handler = on_signal;  // without SA_RESTART: waiting for input must end
    for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
    // Writing fails instead.
    std::signal(SIGPIPE, SIG_IGN);
    std::signal(SIGXFSZ, SIG_IGN);
}

void talk_with_person() { with_person = true; }
bool interrupted() { return got_interrupt; }
bool asked_to_end() { return got_end; }
void forget_interrupt() { got_interrupt = false; }

void check_interrupt() {
    if (got_interrupt) throw Failure("stopped by a signal");
}

CancelOnInterrupt::CancelOnInterrupt(edgellm::Context &context) {
    working = context.get();
    if (got_interrupt) context.cancel();
}
CancelOnInterrupt::~CancelOnInterrupt() { working = nullptr; }

}  // namespace tool
