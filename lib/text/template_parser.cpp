#include "text/template_parser.h"

#include "text/template_expression.h"
#include "text/template_text.h"

namespace el {

namespace {

class Parser : ExpressionParser {
  public:
    using ExpressionParser::ExpressionParser;
    Parser(TemplateTree &tree, uint32_t max_depth) : ExpressionParser(tree, max_depth) {}

    void run() { tree_.body = block({}); }

  private:
    // Text, prints and statements until a tag whose name is in `ends`, which is left as the current token; until the
    // end of the template if `ends` is empty.
    Block block(Names ends) {
        Level level(*this);
        Block result;
        for (;;) {
            const Token &token = current();
            if (token.type == TokenType::kEnd) {
                if (ends.size() == 0) return result;
                fail_here(el::format("the template ends, but {} is missing", tag_names(ends)));
            }
            if (token.type == TokenType::kText) {
                result.push_back(text());
            } else if (token.type == TokenType::kPrintBegin) {
                result.push_back(print());
            } else {  // a block begins: inside tags nothing else is left over
                take();
                if (std::any_of(ends.begin(), ends.end(), [&](auto end) { return at_name(end); })) return result;
                result.push_back(statement(ends));
                expect_block_end();
            }
        }
    }

    static std::string tag_names(Names ends) {
        std::string out;
        for (std::string_view end : ends) out += el::format("{}'{}'", out.empty() ? "" : " or ", end);
        return out;
    }

    // The rest of an opening tag, the body, and the name of the tag that ends it.
    Block body(Names ends) {
        skip_operator(":");
        expect_block_end();
        return block(ends);
    }
    Block last_body(std::string_view end) {
        Block result = body({end});
        take();
        return result;
    }

    Statement &make_statement(StatementKind kind, uint32_t offset) {
        Statement &node = tree_.statements.emplace_back();
        node.kind = kind;
        node.offset = offset;
        return node;
    }

    Statement *text() {
        Statement &node = make_statement(StatementKind::kText, current().offset);
        node.text = std::move(take().text);
        return &node;
    }

    Statement *print() {
        Statement &node = make_statement(StatementKind::kPrint, take().offset);
        node.value = tuple(true);
        if (current().type != TokenType::kPrintEnd) fail_expected("'}}'");
        take();
        return &node;
    }

    Statement *statement(Names ends) {
        static constexpr std::pair<std::string_view, Statement *(Parser::*)(uint32_t)> kTags[] = {
            {"if", &Parser::if_tag},
            {"for", &Parser::for_tag},
            {"set", &Parser::set_tag},
            {"macro", &Parser::macro_tag},
            {"call", &Parser::call_tag},
            {"filter", &Parser::filter_tag},
            {"with", &Parser::with_tag},
            {"print", &Parser::print_tag},
            {"break", &Parser::break_tag},
            {"continue", &Parser::break_tag},
            {"block", &Parser::block_tag},
            {"autoescape", &Parser::autoescape_tag},
            {"generation", &Parser::generation_tag}};
        if (current().type != TokenType::kName) fail_expected("the name of a tag");
        for (auto &[name, parse] : kTags)
            if (at_name(name)) return (this->*parse)(current().offset);
        std::string_view name = current().text;
        for (std::string_view unsupported : {"extends", "include", "import", "from"})
            if (name == unsupported) fail_here(el::format("'{}' is not supported: a template is one file", name));
        std::string looked_for = ends.size() ? ", " + tag_names(ends) + " was looked for" : "";
        fail_here(el::format("unknown tag '{}'{}", name, looked_for));
    }

    Statement *if_tag(uint32_t offset) {
        Statement &first = make_statement(StatementKind::kIf, offset);
        Statement *node = &first;
        for (;;) {
            take();  // if or elif
            node->value = tuple(false);
            node->body = body({"elif", "else", "endif"});
            if (!at_name("elif")) break;
            Statement &next = make_statement(StatementKind::kIf, current().offset);
            node->otherwise.push_back(&next);
            node = &next;
        }
        if (take().text == "else") node->otherwise = last_body("endif");
        return &first;
    }

    Statement *for_tag(uint32_t offset) {
        take();
        Statement &node = make_statement(StatementKind::kFor, offset);
        node.target = target(false);
        expect_name("in");
        node.value = tuple(false, {"recursive"});
        if (skip_name("if")) node.test = expression();
        node.recursive = skip_name("recursive");
        ++loops_;
        node.body = body({"else", "endfor"});
        --loops_;
        if (take().text == "else") node.otherwise = last_body("endfor");
        return &node;
    }

    Statement *break_tag(uint32_t offset) {
        bool is_break = take().text == "break";
        if (loops_ == 0) fail_at(tree_.source, offset, "'break' and 'continue' belong into a for loop");
        return &make_statement(is_break ? StatementKind::kBreak : StatementKind::kContinue, offset);
    }

    Target target_name(bool with_attribute) {
        Target result;
        result.offset = current().offset;
        if (skip_operator("(")) {
            result = target(with_attribute);
            expect_operator(")");
            return result;
        }
        result.name = expect_any_name();
        for (std::string_view constant : {"true", "false", "none", "True", "False", "None"})
            if (result.name == constant) fail_at(tree_.source, result.offset, "a constant cannot be assigned to");
        if (with_attribute && skip_operator(".")) result.attribute = expect_any_name();
        return result;
    }

    Target target(bool with_attribute) {
        Level level(*this);
        Target first = target_name(with_attribute);
        if (!at_operator(",")) return first;
        Target result;
        result.offset = first.offset;
        result.is_tuple = true;
        result.targets.push_back(std::move(first));
        while (skip_operator(",") && (current().type == TokenType::kName || at_operator("(")) && !at_name("in"))
            result.targets.push_back(target_name(with_attribute));
        return result;
    }

    Statement *set_tag(uint32_t offset) {
        take();
        Statement &node = make_statement(StatementKind::kSet, offset);
        node.target = target(true);
        if (skip_operator("=")) {
            node.value = tuple(true);
            return &node;
        }
        node.kind = StatementKind::kSetBlock;
        while (skip_operator("|")) node.value = filter(node.value);
        node.body = last_body("endset");
        return &node;
    }

    // "(a, b=1)" of a macro or call block
    void signature(Statement &node) {
        expect_operator("(");
        while (!at_operator(")")) {
            if (!node.parameters.empty()) expect_operator(",");
            Parameter parameter{expect_any_name()};
            if (skip_operator("="))
                parameter.value = expression();
            else if (!node.parameters.empty() && node.parameters.back().value)
                fail_here("a parameter without default after one with a default");
            node.parameters.push_back(std::move(parameter));
        }
        take();
    }

    Block macro_body(Statement &node, std::string_view end) {
        macros_.push_back(&node);
        int loops = std::exchange(loops_, 0);
        Block result = last_body(end);
        loops_ = loops;
        macros_.pop_back();
        return result;
    }

    Statement *macro_tag(uint32_t offset) {
        take();
        Statement &node = make_statement(StatementKind::kMacro, offset);
        node.text = expect_any_name();
        signature(node);
        node.body = macro_body(node, "endmacro");
        return &node;
    }

    Statement *call_tag(uint32_t offset) {
        take();
        Statement &node = make_statement(StatementKind::kCall, offset);
        if (at_operator("(")) signature(node);
        node.value = expression();
        if (node.value->kind != Kind::kCall) fail_at(tree_.source, offset, "'call' needs a call");
        node.body = macro_body(node, "endcall");
        return &node;
    }

    Statement *filter_tag(uint32_t offset) {
        take();
        Statement &node = make_statement(StatementKind::kFilter, offset);
        node.value = filter(nullptr);
        while (skip_operator("|")) node.value = filter(node.value);
        node.body = last_body("endfilter");
        return &node;
    }

    Statement *with_tag(uint32_t offset) {
        take();
        Statement &node = make_statement(StatementKind::kWith, offset);
        while (current().type != TokenType::kBlockEnd) {
            if (!node.parameters.empty()) expect_operator(",");
            Parameter parameter{expect_any_name()};
            expect_operator("=");
            parameter.value = expression();
            node.parameters.push_back(std::move(parameter));
        }
        node.body = last_body("endwith");
        return &node;
    }

    Statement *print_tag(uint32_t offset) {
        take();
        Statement &node = make_statement(StatementKind::kPrint, offset);
        node.value = expression();
        return &node;
    }

    // Without inheritance a block is its body, and nothing is escaped either way.
    Statement *scope(uint32_t offset, std::string_view end) {
        Statement &node = make_statement(StatementKind::kScope, offset);
        node.body = last_body(end);
        return &node;
    }
    Statement *block_tag(uint32_t offset) {
        take();
        std::string name = expect_any_name();
        skip_name("scoped");
        Statement *node = scope(offset, "endblock");
        skip_name(name);
        return node;
    }
    Statement *autoescape_tag(uint32_t offset) {
        take();
        expression();
        return scope(offset, "endautoescape");
    }
    Statement *generation_tag(uint32_t offset) {
        take();
        return scope(offset, "endgeneration");
    }

    int loops_ = 0;  // around the current place, within its macro
};

}  // namespace

void parse_template(TemplateTree &tree, std::string_view source, uint32_t max_depth) {
    size_t bad_at = 0;
    if (!is_valid_utf8(source, bad_at))
        fail(Status::kTemplateFailed, "template:{}: the template is not valid UTF-8", template_place(source, bad_at));
    if (source.size() > (size_t{1} << 24)) fail(Status::kLimitExceeded, "the template has more than 16 MiB");
    tree.source = normalize_template(source);
    Parser(tree, max_depth).run();
}

}  // namespace el
