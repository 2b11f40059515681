/* The structs as programs that were built with version 1 of the ABI know them. A number here never changes; members are
 * appended with new lines. For 64-bit systems. */
#ifndef EDGELLM_TESTS_API_LAYOUT_H
#define EDGELLM_TESTS_API_LAYOUT_H

#include <edgellm/edgellm.h>
#include <stddef.h>

#define LAYOUT_JOIN(a, b) a##b
#define LAYOUT_NAME(line) LAYOUT_JOIN(layout_line_, line)
#define LAYOUT_ASSERT(condition) typedef char LAYOUT_NAME(__LINE__)[(condition) ? 1 : -1]
/* Structs may grow, but what is there stays where it is. */
#define LAYOUT_SIZE(type, size) LAYOUT_ASSERT(sizeof(type) >= (size) && offsetof(type, struct_size) == 0)
#define LAYOUT_MEMBER(type, member, offset) LAYOUT_ASSERT(offsetof(type, member) == (offset))

LAYOUT_SIZE(edgellm_device_info, 432);
LAYOUT_MEMBER(edgellm_device_info, kind, 4);
LAYOUT_MEMBER(edgellm_device_info, memory_bytes, 8);
LAYOUT_MEMBER(edgellm_device_info, n_threads, 16);
LAYOUT_MEMBER(edgellm_device_info, name, 20);
LAYOUT_MEMBER(edgellm_device_info, isa, 48);
LAYOUT_MEMBER(edgellm_device_info, description, 80);
LAYOUT_MEMBER(edgellm_device_info, features, 176);

LAYOUT_SIZE(edgellm_model_options, 64);
LAYOUT_MEMBER(edgellm_model_options, flags, 4);
LAYOUT_MEMBER(edgellm_model_options, device, 8);
LAYOUT_MEMBER(edgellm_model_options, isa, 16);
LAYOUT_MEMBER(edgellm_model_options, kernels, 24);
LAYOUT_MEMBER(edgellm_model_options, log_level, 28);
LAYOUT_MEMBER(edgellm_model_options, progress, 32);
LAYOUT_MEMBER(edgellm_model_options, progress_user, 40);
LAYOUT_MEMBER(edgellm_model_options, log, 48);
LAYOUT_MEMBER(edgellm_model_options, log_user, 56);
LAYOUT_MEMBER(edgellm_model_options, budget_bytes, 64);

LAYOUT_SIZE(edgellm_model_info, 152);
LAYOUT_MEMBER(edgellm_model_info, flags, 4);
LAYOUT_MEMBER(edgellm_model_info, n_vocab, 8);
LAYOUT_MEMBER(edgellm_model_info, n_layers, 12);
LAYOUT_MEMBER(edgellm_model_info, embedding_width, 16);
LAYOUT_MEMBER(edgellm_model_info, trained_context_tokens, 20);
LAYOUT_MEMBER(edgellm_model_info, bos_token, 24);
LAYOUT_MEMBER(edgellm_model_info, eos_token, 28);
LAYOUT_MEMBER(edgellm_model_info, n_metadata, 32);
LAYOUT_MEMBER(edgellm_model_info, n_parameters, 40);
LAYOUT_MEMBER(edgellm_model_info, weight_bytes, 48);
LAYOUT_MEMBER(edgellm_model_info, architecture, 56);
LAYOUT_MEMBER(edgellm_model_info, device, 120);

LAYOUT_SIZE(edgellm_token_info, 8);
LAYOUT_MEMBER(edgellm_token_info, flags, 4);

LAYOUT_SIZE(edgellm_context_options, 48);
LAYOUT_MEMBER(edgellm_context_options, context_tokens, 4);
LAYOUT_MEMBER(edgellm_context_options, max_sequences, 8);
LAYOUT_MEMBER(edgellm_context_options, max_batch_tokens, 12);
LAYOUT_MEMBER(edgellm_context_options, max_outputs, 16);
LAYOUT_MEMBER(edgellm_context_options, cache_k, 20);
LAYOUT_MEMBER(edgellm_context_options, cache_v, 24);
LAYOUT_MEMBER(edgellm_context_options, n_threads, 28);
LAYOUT_MEMBER(edgellm_context_options, cpu_mask, 32);
LAYOUT_MEMBER(edgellm_context_options, spin_ns, 40);
LAYOUT_MEMBER(edgellm_context_options, cache_policy, 48);
LAYOUT_MEMBER(edgellm_context_options, flags, 52);
LAYOUT_MEMBER(edgellm_context_options, cuda_stream, 56);
LAYOUT_MEMBER(edgellm_context_options, stream_priority, 64);
LAYOUT_MEMBER(edgellm_context_options, reserved, 68);

LAYOUT_SIZE(edgellm_context_info, 40);
LAYOUT_MEMBER(edgellm_context_info, context_tokens, 4);
LAYOUT_MEMBER(edgellm_context_info, max_sequences, 8);
LAYOUT_MEMBER(edgellm_context_info, max_batch_tokens, 12);
LAYOUT_MEMBER(edgellm_context_info, max_outputs, 16);
LAYOUT_MEMBER(edgellm_context_info, cache_k, 20);
LAYOUT_MEMBER(edgellm_context_info, cache_v, 24);
LAYOUT_MEMBER(edgellm_context_info, n_threads, 28);
LAYOUT_MEMBER(edgellm_context_info, memory_bytes, 32);
LAYOUT_MEMBER(edgellm_context_info, cache_policy, 40);
LAYOUT_MEMBER(edgellm_context_info, flags, 44);

LAYOUT_SIZE(edgellm_batch, 40);
LAYOUT_MEMBER(edgellm_batch, n_tokens, 4);
LAYOUT_MEMBER(edgellm_batch, tokens, 8);
LAYOUT_MEMBER(edgellm_batch, sequences, 16);
LAYOUT_MEMBER(edgellm_batch, positions, 24);
LAYOUT_MEMBER(edgellm_batch, outputs, 32);
LAYOUT_MEMBER(edgellm_batch, parents, 40);

LAYOUT_SIZE(edgellm_decode_options, 8);
LAYOUT_MEMBER(edgellm_decode_options, flags, 4);
LAYOUT_MEMBER(edgellm_decode_options, deadline_ns, 8);
LAYOUT_MEMBER(edgellm_decode_options, wait_event, 16);
LAYOUT_MEMBER(edgellm_decode_options, done_event, 24);
LAYOUT_SIZE(edgellm_decode_result, 8);
LAYOUT_MEMBER(edgellm_decode_result, n_outputs, 4);
LAYOUT_SIZE(edgellm_sequence_info, 8);
LAYOUT_MEMBER(edgellm_sequence_info, n_tokens, 4);
LAYOUT_MEMBER(edgellm_sequence_info, next_position, 8);

LAYOUT_SIZE(edgellm_sampler_options, 136);
LAYOUT_MEMBER(edgellm_sampler_options, flags, 4);
LAYOUT_MEMBER(edgellm_sampler_options, temperature, 8);
LAYOUT_MEMBER(edgellm_sampler_options, top_k, 12);
LAYOUT_MEMBER(edgellm_sampler_options, top_p, 16);
LAYOUT_MEMBER(edgellm_sampler_options, min_p, 20);
LAYOUT_MEMBER(edgellm_sampler_options, typical_p, 24);
LAYOUT_MEMBER(edgellm_sampler_options, top_n_sigma, 28);
LAYOUT_MEMBER(edgellm_sampler_options, repetition_penalty, 32);
LAYOUT_MEMBER(edgellm_sampler_options, frequency_penalty, 36);
LAYOUT_MEMBER(edgellm_sampler_options, presence_penalty, 40);
LAYOUT_MEMBER(edgellm_sampler_options, penalty_last_n, 44);
LAYOUT_MEMBER(edgellm_sampler_options, xtc_probability, 48);
LAYOUT_MEMBER(edgellm_sampler_options, xtc_threshold, 52);
LAYOUT_MEMBER(edgellm_sampler_options, dynatemp_range, 56);
LAYOUT_MEMBER(edgellm_sampler_options, dynatemp_exponent, 60);
LAYOUT_MEMBER(edgellm_sampler_options, mirostat_tau, 64);
LAYOUT_MEMBER(edgellm_sampler_options, mirostat_eta, 68);
LAYOUT_MEMBER(edgellm_sampler_options, dry_multiplier, 72);
LAYOUT_MEMBER(edgellm_sampler_options, dry_base, 76);
LAYOUT_MEMBER(edgellm_sampler_options, dry_allowed_length, 80);
LAYOUT_MEMBER(edgellm_sampler_options, dry_penalty_last_n, 84);
LAYOUT_MEMBER(edgellm_sampler_options, n_dry_breakers, 88);
LAYOUT_MEMBER(edgellm_sampler_options, n_logit_bias, 92);
LAYOUT_MEMBER(edgellm_sampler_options, dry_breakers, 96);
LAYOUT_MEMBER(edgellm_sampler_options, stages, 104);
LAYOUT_MEMBER(edgellm_sampler_options, logit_bias_tokens, 112);
LAYOUT_MEMBER(edgellm_sampler_options, logit_bias_values, 120);
LAYOUT_MEMBER(edgellm_sampler_options, seed, 128);

LAYOUT_SIZE(edgellm_token_event, 48);
LAYOUT_MEMBER(edgellm_token_event, token, 4);
LAYOUT_MEMBER(edgellm_token_event, n_generated, 8);
LAYOUT_MEMBER(edgellm_token_event, n_text_bytes, 12);
LAYOUT_MEMBER(edgellm_token_event, text, 16);
LAYOUT_MEMBER(edgellm_token_event, logprob, 24);
LAYOUT_MEMBER(edgellm_token_event, n_top, 28);
LAYOUT_MEMBER(edgellm_token_event, top_tokens, 32);
LAYOUT_MEMBER(edgellm_token_event, top_logprobs, 40);

LAYOUT_SIZE(edgellm_generate_options, 32);
LAYOUT_MEMBER(edgellm_generate_options, flags, 4);
LAYOUT_MEMBER(edgellm_generate_options, max_tokens, 8);
LAYOUT_MEMBER(edgellm_generate_options, n_top, 12);
LAYOUT_MEMBER(edgellm_generate_options, stop_strings, 16);
LAYOUT_MEMBER(edgellm_generate_options, n_stop_strings, 24);
LAYOUT_MEMBER(edgellm_generate_options, reserved, 28);
LAYOUT_MEMBER(edgellm_generate_options, deadline_ns, 32);

LAYOUT_SIZE(edgellm_generate_result, 40);
LAYOUT_MEMBER(edgellm_generate_result, stop_reason, 4);
LAYOUT_MEMBER(edgellm_generate_result, stop_string, 8);
LAYOUT_MEMBER(edgellm_generate_result, n_prompt_tokens, 12);
LAYOUT_MEMBER(edgellm_generate_result, n_generated, 16);
LAYOUT_MEMBER(edgellm_generate_result, n_tokens, 20);
LAYOUT_MEMBER(edgellm_generate_result, prompt_ns, 24);
LAYOUT_MEMBER(edgellm_generate_result, generate_ns, 32);
LAYOUT_MEMBER(edgellm_generate_result, n_reused_tokens, 40);
LAYOUT_MEMBER(edgellm_generate_result, reserved, 44);

LAYOUT_SIZE(edgellm_memory_summary, 56);
LAYOUT_MEMBER(edgellm_memory_summary, flags, 4);
LAYOUT_MEMBER(edgellm_memory_summary, context_tokens, 8);
LAYOUT_MEMBER(edgellm_memory_summary, max_context_tokens, 12);
LAYOUT_MEMBER(edgellm_memory_summary, n_regions, 16);
LAYOUT_MEMBER(edgellm_memory_summary, total_bytes, 24);
LAYOUT_MEMBER(edgellm_memory_summary, resident_bytes, 32);
LAYOUT_MEMBER(edgellm_memory_summary, load_peak_bytes, 40);
LAYOUT_MEMBER(edgellm_memory_summary, budget_bytes, 48);

LAYOUT_SIZE(edgellm_memory_region, 128);
LAYOUT_MEMBER(edgellm_memory_region, flags, 4);
LAYOUT_MEMBER(edgellm_memory_region, bytes, 8);
LAYOUT_MEMBER(edgellm_memory_region, row_bytes, 16);
LAYOUT_MEMBER(edgellm_memory_region, n_rows, 24);
LAYOUT_MEMBER(edgellm_memory_region, device, 32);
LAYOUT_MEMBER(edgellm_memory_region, name, 60);

#endif
