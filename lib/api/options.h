// Options of the C interface as the engine knows them. Each throws, naming the member that makes no sense.
#pragma once
#include "engine/options.h"
#include <edgellm/edgellm.h>

namespace el {

ModelOptions model_options(const edgellm_model_options *given);        // NULL: defaults
ContextOptions context_options(const edgellm_context_options *given);  // NULL: defaults

}  // namespace el
