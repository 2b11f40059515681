#include "text/template.h"

#include "text/template_eval.h"

namespace el {

Template Template::parse(std::string_view source, const TemplateLimits &limits) {
    auto tree = std::make_shared<TemplateTree>();
    parse_template(*tree, source, limits.max_parse_depth);
    Template result;
    result.tree_ = std::move(tree);
    return result;
}

std::string Template::render(const Value &variables, const RenderOptions &options) const {
    if (!tree_) return {};
    return Renderer(*tree_, variables, options).run();
}

}  // namespace el
