// The commands. Each adds itself to the program and is called while the command line is parsed, if it was chosen.
#pragma once
#include <CLI/CLI.hpp>

namespace tool {

void add_run(CLI::App &program);
void add_tokenize(CLI::App &program);
void add_detokenize(CLI::App &program);
void add_template(CLI::App &program);
void add_logits(CLI::App &program);
void add_perplexity(CLI::App &program);
void add_inspect(CLI::App &program);
void add_bench(CLI::App &program);
void add_synth(CLI::App &program);
void add_plan(CLI::App &program);
void add_profile(CLI::App &program);
void add_devices(CLI::App &program);
void add_models(CLI::App &program);

}  // namespace tool
