// The half of the template parser that reads expressions, with Jinja's precedence. Included by template_parser.cpp
// only.
#pragma once
#include "base/status.h"
#include "text/template_lexer.h"
#include "text/template_parser.h"
#include <algorithm>
#include <initializer_list>
#include <optional>

namespace el {

class ExpressionParser {
  protected:
    ExpressionParser(TemplateTree &tree, uint32_t max_depth)
        : tree_(tree), max_depth_(max_depth), tokens_(lex_template(tree.source)) {}

    using Kind = ExpressionKind;
    using Names = std::initializer_list<std::string_view>;

    // --- tokens ---
    const Token &current() const { return tokens_[at_]; }
    const Token &ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
    Token &take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
    bool at_name(std::string_view name) const { return current().is_name(name); }
    bool at_operator(std::string_view op) const { return current().is_operator(op); }
    bool skip_name(std::string_view name) { return at_name(name) && (take(), true); }
    bool skip_operator(std::string_view op) { return at_operator(op) && (take(), true); }
    [[noreturn]] void fail_here(std::string_view message) const { fail_at(tree_.source, current().offset, message); }

    std::string describe() const {
        switch (current().type) {
        case TokenType::kEnd:
            return "the end of the template";
        case TokenType::kPrintEnd:
            return "'}}'";
        case TokenType::kBlockEnd:
            return "'%}'";
        case TokenType::kText:
            return "text";
        case TokenType::kString:
            return "a string";
        default:
            return "'" + current().text + "'";
        }
    }
    [[noreturn]] void fail_expected(std::string_view what) const {
        fail_here(el::format("expected {}, got {}", what, describe()));
    }
    void expect_operator(std::string_view op) {
        if (!skip_operator(op)) fail_expected(el::format("'{}'", op));
    }
    void expect_name(std::string_view name) {
        if (!skip_name(name)) fail_expected(el::format("'{}'", name));
    }
    std::string expect_any_name() {
        if (current().type != TokenType::kName) fail_expected("a name");
        return take().text;
    }
    void expect_block_end() {
        if (current().type != TokenType::kBlockEnd) fail_expected("'%}'");
        take();
    }

    // Counts the recursion of this parser.
    struct Level {
        explicit Level(ExpressionParser &owner) : parser(owner) {
            if (++parser.depth_ > parser.max_depth_)
                fail(Status::kLimitExceeded, "template:{}: tags or expressions nest more than {} levels deep",
                     template_place(parser.tree_.source, parser.current().offset), parser.max_depth_);
        }
        ~Level() { --parser.depth_; }
        ExpressionParser &parser;
    };

    // --- nodes ---
    Expression &make(Kind kind, uint32_t offset, std::vector<const Expression *> items = {}) {
        Expression &node = tree_.expressions.emplace_back();
        node.kind = kind;
        node.offset = offset;
        node.items = std::move(items);
        return node;
    }
    // Sets the height once all children are known.
    const Expression *done(Expression &node) {
        auto under = [&](const Expression *child) {
            if (child) node.height = std::max(node.height, child->height + 1);
        };
        for (auto *item : node.items) under(item);
        for (auto *item : node.arguments.positional) under(item);
        for (auto &item : node.arguments.named) under(item.second);
        under(node.arguments.star);
        under(node.arguments.star_star);
        if (node.height > max_depth_)
            fail(Status::kLimitExceeded, "template:{}: the expression is more than {} levels deep",
                 template_place(tree_.source, node.offset), max_depth_);
        return &node;
    }
    const Expression *make_done(Kind kind, uint32_t offset, std::vector<const Expression *> items) {
        return done(make(kind, offset, std::move(items)));
    }
    const Expression *constant(uint32_t offset, Value value) {
        Expression &node = make(Kind::kConstant, offset);
        node.value = std::move(value);
        return &node;
    }

    // --- expressions, loosest first ---
    const Expression *expression(bool with_condition = true) {
        Level level(*this);
        const Expression *result = any_of();
        while (with_condition && at_name("if")) {
            uint32_t offset = take().offset;
            const Expression *test = any_of();
            const Expression *otherwise = skip_name("else") ? expression() : nullptr;
            result = make_done(Kind::kConditional, offset, {test, result, otherwise});
        }
        return result;
    }

    const Expression *any_of() {
        const Expression *first = all_of();
        if (!at_name("or")) return first;
        Expression &node = make(Kind::kOr, first->offset, {first});
        while (skip_name("or")) node.items.push_back(all_of());
        return done(node);
    }

    const Expression *all_of() {
        const Expression *first = negation();
        if (!at_name("and")) return first;
        Expression &node = make(Kind::kAnd, first->offset, {first});
        while (skip_name("and")) node.items.push_back(negation());
        return done(node);
    }

    const Expression *negation() {
        if (!at_name("not")) return comparison();
        Level level(*this);
        uint32_t offset = take().offset;
        return make_done(Kind::kNot, offset, {negation()});
    }

    std::optional<Operator> comparison_operator() {
        static constexpr std::pair<std::string_view, Operator> kOperators[] = {
            {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
            {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
        for (auto &[text, op] : kOperators)
            if (skip_operator(text)) return op;
        if (skip_name("in")) return Operator::kIn;
        if (!at_name("not") || !ahead().is_name("in")) return {};
        take();
        take();
        return Operator::kNotIn;
    }

    const Expression *comparison() {
        const Expression *first = sum();
        auto op = comparison_operator();
        if (!op) return first;
        Expression &node = make(Kind::kCompare, first->offset, {first});
        for (; op; op = comparison_operator()) {
            node.operators.push_back(*op);
            node.items.push_back(sum());
        }
        return done(node);
    }

    // One level of left-associative operators, kept flat.
    using OperatorNames = std::initializer_list<std::pair<std::string_view, Operator>>;
    const Expression *chain(OperatorNames names, const Expression *(ExpressionParser::*operand)()) {
        const Expression *first = (this->*operand)();
        Expression *node = nullptr;
        for (;;) {
            auto found = std::find_if(names.begin(), names.end(), [&](auto &name) { return at_operator(name.first); });
            if (found == names.end()) return node ? done(*node) : first;
            if (!node) node = &make(Kind::kBinary, current().offset, {first});
            take();
            node->operators.push_back(found->second);
            node->items.push_back((this->*operand)());
        }
    }
    const Expression *sum() {
        return chain({{"+", Operator::kAdd}, {"-", Operator::kSubtract}}, &ExpressionParser::concatenation);
    }
    const Expression *concatenation() {
        const Expression *first = product();
        if (!at_operator("~")) return first;
        Expression &node = make(Kind::kConcat, first->offset, {first});
        while (skip_operator("~")) node.items.push_back(product());
        return done(node);
    }
    const Expression *product() {
        return chain({{"*", Operator::kMultiply},
                      {"/", Operator::kDivide},
                      {"//", Operator::kFloorDivide},
                      {"%", Operator::kModulo}},
                     &ExpressionParser::power);
    }
    const Expression *power() { return chain({{"**", Operator::kPower}}, &ExpressionParser::filtered_unary); }
    const Expression *filtered_unary() { return unary(true); }

    const Expression *unary(bool with_filters) {
        Level level(*this);
        const Expression *result;
        if (at_operator("-") || at_operator("+")) {
            Kind kind = at_operator("-") ? Kind::kNegative : Kind::kPositive;
            uint32_t offset = take().offset;
            result = make_done(kind, offset, {unary(false)});
        } else {
            result = primary();
        }
        result = postfix(result);
        return with_filters ? filters_and_tests(result) : result;
    }

    const Expression *primary() {
        const Token &token = current();
        uint32_t offset = token.offset;
        switch (token.type) {
        case TokenType::kName:
            return name_or_constant();
        case TokenType::kString: {
            std::string text;
            while (current().type == TokenType::kString) text += take().text;
            return constant(offset, Value(std::move(text)));
        }
        case TokenType::kInt:
            return constant(offset, Value(take().integer));
        case TokenType::kFloat:
            return constant(offset, Value(take().number));
        default:
            break;
        }
        if (skip_operator("(")) {
            const Expression *result = tuple(true, {}, true);
            expect_operator(")");
            return result;
        }
        if (skip_operator("[")) return done(sequence(make(Kind::kList, offset), "]", false));
        if (skip_operator("{")) return done(sequence(make(Kind::kDict, offset), "}", true));
        fail_here(el::format("unexpected {}", describe()));
    }

    const Expression *name_or_constant() {
        uint32_t offset = current().offset;
        std::string name = take().text;
        if (name == "true" || name == "True") return constant(offset, Value(true));
        if (name == "false" || name == "False") return constant(offset, Value(false));
        if (name == "none" || name == "None") return constant(offset, Value::none());
        for (Statement *macro : macros_) {
            macro->uses_caller |= name == "caller";
            macro->uses_varargs |= name == "varargs";
            macro->uses_kwargs |= name == "kwargs";
        }
        Expression &node = make(Kind::kName, offset);
        node.name = std::move(name);
        return &node;
    }

    Expression &sequence(Expression &node, std::string_view end, bool pairs) {
        while (!at_operator(end)) {
            if (!node.items.empty()) expect_operator(",");
            if (at_operator(end)) break;
            node.items.push_back(expression());
            if (!pairs) continue;
            expect_operator(":");
            node.items.push_back(expression());
        }
        take();
        return node;
    }

    // Expressions with commas between them are a tuple; one alone is itself.
    const Expression *tuple(bool with_condition, Names ends = {}, bool parentheses = false) {
        uint32_t offset = current().offset;
        std::vector<const Expression *> items;
        bool is_tuple = false;
        for (;;) {
            if (!items.empty()) expect_operator(",");
            if (at_tuple_end(ends)) break;
            items.push_back(expression(with_condition));
            if (!at_operator(",")) break;
            is_tuple = true;
        }
        if (!is_tuple && !items.empty()) return items[0];
        if (!is_tuple && !parentheses) fail_expected("an expression");
        return make_done(Kind::kTuple, offset, std::move(items));
    }
    bool at_tuple_end(Names ends) const {
        if (current().type == TokenType::kPrintEnd || current().type == TokenType::kBlockEnd || at_operator(")"))
            return true;
        return std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return at_name(end); });
    }

    const Expression *postfix(const Expression *result) {
        for (;;) {
            if (at_operator("."))
                result = attribute(result);
            else if (at_operator("["))
                result = subscript(result);
            else if (at_operator("("))
                result = call(result);
            else
                return result;
        }
    }

    const Expression *attribute(const Expression *object) {
        uint32_t offset = take().offset;
        if (current().type == TokenType::kInt) {
            const Expression *index = constant(current().offset, Value(current().integer));
            take();
            return make_done(Kind::kSubscript, offset, {object, index});
        }
        Expression &node = make(Kind::kAttribute, offset, {object});
        node.name = expect_any_name();
        return done(node);
    }

    const Expression *subscript(const Expression *object) {
        uint32_t offset = take().offset;
        std::vector<const Expression *> indices;
        while (!at_operator("]")) {
            if (!indices.empty()) expect_operator(",");
            indices.push_back(slice());
        }
        take();
        const Expression *index =
            indices.size() == 1 ? indices[0] : make_done(Kind::kTuple, offset, std::move(indices));
        return make_done(Kind::kSubscript, offset, {object, index});
    }

    const Expression *slice() {
        uint32_t offset = current().offset;
        std::vector<const Expression *> parts;
        auto part = [&] {
            bool missing = at_operator(":") || at_operator("]") || at_operator(",");
            parts.push_back(missing ? nullptr : expression());
        };
        part();
        if (!at_operator(":")) {
            if (!parts[0]) fail_expected("an expression");
            return parts[0];
        }
        while (parts.size() < 3 && skip_operator(":")) part();
        parts.resize(3);
        return make_done(Kind::kSlice, offset, std::move(parts));
    }

    const Expression *call(const Expression *function) {
        Expression &node = make(Kind::kCall, current().offset, {function});
        arguments(node.arguments);
        return done(node);
    }

    void arguments(Arguments &out) {
        expect_operator("(");
        bool first = true;
        while (!at_operator(")")) {
            if (!first) expect_operator(",");
            if (at_operator(")")) break;
            first = false;
            bool named = current().type == TokenType::kName && ahead().is_operator("=");
            bool late = named || at_operator("**")
                            ? out.star_star != nullptr
                            : out.star || out.star_star || (!out.named.empty() && !at_operator("*"));
            if (late) fail_here("an argument in the wrong place of a call");
            if (named) {
                std::string name = take().text;
                take();
                out.named.emplace_back(std::move(name), expression());
            } else if (skip_operator("*")) {
                out.star = expression();
            } else if (skip_operator("**")) {
                out.star_star = expression();
            } else {
                out.positional.push_back(expression());
            }
        }
        take();
    }

    const Expression *filters_and_tests(const Expression *result) {
        for (;;) {
            if (skip_operator("|"))
                result = filter(result);
            else if (at_name("is"))
                result = test(result);
            else if (at_operator("("))
                result = call(result);
            else
                return result;
        }
    }

    std::string dotted_name() {
        std::string name = expect_any_name();
        while (skip_operator(".")) name += "." + expect_any_name();
        return name;
    }

    const Expression *filter(const Expression *subject) {
        Expression &node = make(Kind::kFilter, current().offset, {subject});
        node.name = dotted_name();
        if (at_operator("(")) arguments(node.arguments);
        return done(node);
    }

    const Expression *test(const Expression *subject) {
        Expression &node = make(Kind::kTest, take().offset, {subject});
        bool negated = skip_name("not");
        node.name = dotted_name();
        if (at_operator("(")) {
            arguments(node.arguments);
        } else if (at_test_argument()) {
            if (at_name("is")) fail_here("tests cannot be chained with 'is'");
            Level level(*this);
            node.arguments.positional.push_back(postfix(primary()));
        }
        const Expression *result = done(node);
        return negated ? make_done(Kind::kNot, node.offset, {result}) : result;
    }
    bool at_test_argument() const {
        switch (current().type) {
        case TokenType::kName:
            return !at_name("else") && !at_name("or") && !at_name("and");
        case TokenType::kString:
        case TokenType::kInt:
        case TokenType::kFloat:
            return true;
        default:
            return at_operator("[") || at_operator("{");
        }
    }

    TemplateTree &tree_;
    uint32_t max_depth_;
    uint32_t depth_ = 0;
    std::vector<Token> tokens_;
    size_t at_ = 0;
    std::vector<Statement *> macros_;  // around the current place
};

}  // namespace el
