// Line editing and a history for this session, by libedit.
#include "line_reader.h"
#include "output.h"

#include <clocale>
#include <cstring>
#include <histedit.h>
#include <langinfo.h>

namespace tool {
namespace {

class EditingReader : public LineReader {
  public:
    explicit EditingReader(const char *prompt) : prompt_(prompt) {
        use_utf8();
        edit_.reset(el_init("edgellm", stdin, stderr, stderr));
        history_.reset(history_init());
        if (!edit_ || !history_) throw std::bad_alloc();
        HistEvent event;
        history(history_.get(), &event, H_SETSIZE, 1000);
        history(history_.get(), &event, H_SETUNIQUE, 1);
        el_set(edit_.get(), EL_CLIENTDATA, this);
        el_set(edit_.get(), EL_PROMPT, &EditingReader::show_prompt);
        el_set(edit_.get(), EL_EDITOR, "emacs");
        el_set(edit_.get(), EL_HIST, history, history_.get());
        // While a line is edited Ctrl-C is a key that drops it, not a signal.
        el_set(edit_.get(), EL_SETTY, "-d", "-isig", nullptr);
        el_set(edit_.get(), EL_ADDFN, "drop-line", "drop the line", &EditingReader::drop_line);
        el_set(edit_.get(), EL_BIND, "^C", "drop-line", nullptr);
        el_set(edit_.get(), EL_BIND, "^R", "em-inc-search-prev", nullptr);
    }

    Result read(std::string &line) override {
        dropped_ = false;
        int n = 0;
        const char *text = el_gets(edit_.get(), &n);
        if (dropped_) return note(""), Result::kInterrupted;
        if (!text || n <= 0) return note(""), Result::kEnd;
        line.assign(text, static_cast<size_t>(n));
        if (line.back() == '\n') line.pop_back();
        HistEvent event;
        if (!line.empty()) history(history_.get(), &event, H_ENTER, line.c_str());
        return Result::kLine;
    }

  private:
    // What is typed is UTF-8, whatever the environment says.
    static void use_utf8() {
        if (!std::setlocale(LC_CTYPE, "") || std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
            std::setlocale(LC_CTYPE, "C.UTF-8");
    }
    static EditingReader &self(EditLine *edit) {
        void *reader = nullptr;
        el_get(edit, EL_CLIENTDATA, &reader);
        return *static_cast<EditingReader *>(reader);
    }
    static char *show_prompt(EditLine *edit) { return const_cast<char *>(self(edit).prompt_); }
    static unsigned char drop_line(EditLine *edit, int) {
        self(edit).dropped_ = true;
        return CC_NEWLINE;
    }

    const char *prompt_;
    bool dropped_ = false;
    std::unique_ptr<History, void (*)(History *)> history_{nullptr, history_end};
    std::unique_ptr<EditLine, void (*)(EditLine *)> edit_{nullptr, el_end};
};

}  // namespace

std::unique_ptr<LineReader> make_terminal_reader(const char *prompt) { return std::make_unique<EditingReader>(prompt); }

}  // namespace tool
