// The tree of a template. Nodes live in one pool and point at each other, so freeing a deep tree is not recursive.
#pragma once
#include "text/value.h"
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace el {

struct Expression;
struct Statement;
using Block = std::vector<const Statement *>;

enum class ExpressionKind : uint8_t {
    kConstant,   // value
    kName,       // name
    kList,       // items
    kTuple,      // items
    kDict,       // items: key, value, key, value ...
    kAttribute,  // items[0] . name
    kSubscript,  // items[0] [ items[1] ]
    kSlice,      // inside a subscript: items are start, stop, step, each may be NULL
    kCall,       // items[0] ( arguments )
    kFilter,     // items[0] | name ( arguments ); items[0] is NULL in filter blocks
    kTest,       // items[0] is name ( arguments )
    kNot,
    kNegative,
    kPositive,
    kBinary,       // items[0], then one item per operator
    kAnd,          // items
    kOr,           // items
    kCompare,      // items[0], then one item per operator; all must hold
    kConcat,       // items
    kConditional,  // items: test, then, else (may be NULL)
};

enum class Operator : uint8_t {
    kAdd,
    kSubtract,
    kMultiply,
    kDivide,
    kFloorDivide,
    kModulo,
    kPower,
    kEqual,
    kNotEqual,
    kLess,
    kLessEqual,
    kGreater,
    kGreaterEqual,
    kIn,
    kNotIn,
};

struct Arguments {
    std::vector<const Expression *> positional;
    std::vector<std::pair<std::string, const Expression *>> named;
    const Expression *star = nullptr;
    const Expression *star_star = nullptr;
};

struct Expression {
    ExpressionKind kind;
    uint32_t offset = 0;
    uint32_t height = 1;  // levels below, bounded
    std::string name;
    Value value;
    std::vector<const Expression *> items;
    std::vector<Operator> operators;
    Arguments arguments;
};

enum class StatementKind : uint8_t {
    kText,      // text
    kPrint,     // value
    kIf,        // value, body, otherwise
    kFor,       // target in value if test: body, otherwise
    kSet,       // target = value
    kSetBlock,  // target = body, through value (a filter) if there is one
    kMacro,     // name, parameters, body
    kCall,      // value is the call; parameters and body are its caller
    kFilter,    // value is the filter; body
    kWith,      // parameters with their values; body
    kScope,     // body with variables of its own
    kBreak,
    kContinue,
};

// What is assigned to: a name, an attribute of a namespace, or several of these.
struct Target {
    uint32_t offset = 0;
    std::string name;
    std::string attribute;        // of a namespace
    std::vector<Target> targets;  // unpacked when not empty or `is_tuple`
    bool is_tuple = false;
};

struct Parameter {
    std::string name;
    const Expression *value = nullptr;  // default, or what `with` binds
};

struct Statement {
    StatementKind kind;
    uint32_t offset = 0;
    std::string text;
    const Expression *value = nullptr;
    const Expression *test = nullptr;
    Target target;
    std::vector<Parameter> parameters;
    Block body, otherwise;
    bool recursive = false;                                               // for
    bool uses_caller = false, uses_varargs = false, uses_kwargs = false;  // macro
};

struct TemplateTree {
    std::string source;  // normalized
    std::deque<Expression> expressions;
    std::deque<Statement> statements;
    Block body;
};

// Throws kTemplateFailed with line and column, kLimitExceeded when tags or expressions nest deeper than `max_depth`.
void parse_template(TemplateTree &tree, std::string_view source, uint32_t max_depth);

}  // namespace el
