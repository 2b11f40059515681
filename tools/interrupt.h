// Ctrl-C, and requests to end: nothing dies of a signal, work stops at the next step.
#pragma once
#include <edgellm/edgellm.hpp>

namespace tool {

// SIGINT, SIGTERM and SIGHUP set a flag and cancel what is being answered; a second one ends the program at once with
// status 1, unless it talks with a person. SIGPIPE becomes an error of the write.
void catch_signals();
void talk_with_person();  // Ctrl-C never ends the program from now on

bool interrupted();   // Ctrl-C came since forget_interrupt()
bool asked_to_end();  // SIGTERM or SIGHUP came
void forget_interrupt();
void check_interrupt();  // throws Failure if something came

// While it lives, Ctrl-C cancels what the context does.
class CancelOnInterrupt {
  public:
    explicit CancelOnInterrupt(edgellm::Context &context);
    ~CancelOnInterrupt();
    CancelOnInterrupt(const CancelOnInterrupt &) = delete;
    CancelOnInterrupt &operator=(const CancelOnInterrupt &) = delete;
};

}  // namespace tool
