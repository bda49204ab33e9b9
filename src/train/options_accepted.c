/*
 * Flags of Hugging Face's and PaddleNLP's trainers that scripts pass and that mean nothing here:
 * they are taken, so that the scripts run, and a value that asks for something else gets a note.
 * Those that would change the result are not taken: an unknown flag is an error.
 */
#include <string.h>

#include "train/options_internal.h"

struct accepted_flag {
    const char *name;
    bool is_bool;
    const char *harmless; /* values taken in silence, separated by |; NULL = all of them */
    const char *note;     /* said of others; NULL = they are refused */
};

#define VALUE false
#define BOOL true

static const accepted_flag ACCEPTED[] = {
    /* precision */
    {"fp16", BOOL, "false", "half precision is --bf16 here; this run computes in float32"},
    {"fp16_full_eval", BOOL, "false", "evaluation computes as training does; see --bf16"},
    {"bf16_full_eval", BOOL, "false", "evaluation computes as training does; see --bf16"},
    {"fp16_opt_level", VALUE, NULL, NULL},
    {"fp16_backend", VALUE, NULL, NULL},
    {"half_precision_backend", VALUE, NULL, NULL},
    {"scale_loss", VALUE, NULL, NULL},
    {"tf32", BOOL, NULL, NULL},
    /* machine */
    {"no_cuda", BOOL, NULL, NULL},
    {"use_cpu", BOOL, NULL, NULL},
    {"use_ipex", BOOL, NULL, NULL},
    {"jit_mode_eval", BOOL, NULL, NULL},
    {"torch_compile", BOOL, NULL, NULL},
    {"local_rank", VALUE, "-1|0", "one process trains alone"},
    {"ddp_backend", VALUE, NULL, NULL},
    {"ddp_timeout", VALUE, NULL, NULL},
    {"ddp_find_unused_parameters", BOOL, NULL, NULL},
    {"full_determinism", BOOL, NULL, NULL},
    {"skip_memory_metrics", BOOL, NULL, NULL},
    {"auto_find_batch_size", BOOL, "false", "the batch size stays as it is"},
    /* data */
    {"dataloader_num_workers", VALUE, "0", "texts are tokenized on all cores (--num_threads)"},
    {"dataloader_pin_memory", BOOL, NULL, NULL},
    {"dataloader_persistent_workers", BOOL, NULL, NULL},
    {"dataloader_prefetch_factor", VALUE, NULL, NULL},
    {"preprocessing_num_workers", VALUE, NULL, NULL},
    {"remove_unused_columns", BOOL, NULL, NULL},
    {"label_names", VALUE, NULL, NULL},
    {"group_by_length", BOOL, "false", "batches are packed without padding: nothing to gain"},
    {"length_column_name", VALUE, NULL, NULL},
    {"pad_to_max_length", BOOL, "false", "batches are packed without padding"},
    {"overwrite_cache", BOOL, NULL, NULL},
    {"use_fast_tokenizer", BOOL, NULL, NULL},
    {"cache_dir", VALUE, "", "models are looked for in $CLOZE_MODELS and the usual caches"},
    {"model_revision", VALUE, "main", "a model is the directory that is there"},
    {"trust_remote_code", BOOL, "false", "no code of a model is run"},
    {"task_type", VALUE, "multi-class", NULL},
    /* evaluating, logging, saving */
    {"prediction_loss_only", BOOL, "false", "metrics are always computed"},
    {"include_inputs_for_metrics", BOOL, NULL, NULL},
    {"eval_accumulation_steps", VALUE, NULL, NULL},
    {"use_legacy_prediction_loop", BOOL, NULL, NULL},
    {"minimum_eval_times", VALUE, "None|0", "--eval_steps says how often to evaluate"},
    {"past_index", VALUE, NULL, NULL},
    {"log_level", VALUE, NULL, NULL},
    {"log_level_replica", VALUE, NULL, NULL},
    {"log_on_each_node", BOOL, NULL, NULL},
    {"logging_nan_inf_filter", BOOL, NULL, NULL},
    {"debug", VALUE, NULL, NULL},
    {"save_safetensors", BOOL, "true", "checkpoints are safetensors files"},
    {"save_on_each_node", BOOL, NULL, NULL},
    {"save_only_model", BOOL, "false", "checkpoints hold the optimizer, so that a run can go on"},
    {"save_plm", BOOL, NULL, NULL},
    {"ignore_data_skip", BOOL, "false", "a run goes on with exactly the next batch"},
    {"push_to_hub", BOOL, "false", "nothing is uploaded"},
    {"hub_model_id", VALUE, "", "nothing is uploaded"},
    {"hub_strategy", VALUE, NULL, NULL},
    {"hub_private_repo", BOOL, NULL, NULL},
    {"warmup", BOOL, NULL, NULL},
    {"use_rgl", BOOL, "false", NULL},
    {"alpha_rgl", VALUE, NULL, NULL},
};

const accepted_flag *option_accepted(char command, const char *name) {
    if (!strchr("TMI", command)) return NULL;
    for (size_t i = 0; i < sizeof ACCEPTED / sizeof *ACCEPTED; i++)
        if (strcmp(ACCEPTED[i].name, name) == 0) return &ACCEPTED[i];
    return NULL;
}

bool option_accepted_is_bool(const accepted_flag *flag) { return flag->is_bool; }

static bool is_harmless(const accepted_flag *flag, const char *value) {
    bool wanted, given;
    if (!flag->harmless) return true;
    if (flag->is_bool)
        return options_parse_bool(flag->harmless, &wanted) && options_parse_bool(value, &given) &&
               wanted == given;
    size_t n = strlen(value);
    for (const char *at = flag->harmless; at; at = strchr(at, '|')) {
        if (*at == '|') at++;
        if (strncmp(at, value, n) == 0 && (at[n] == '|' || at[n] == 0)) return true;
    }
    return false;
}

cloze_status option_accept(options *o, const accepted_flag *flag, const char *value,
                           cloze_error *err) {
    bool ignored;
    if (flag->is_bool && !options_parse_bool(value, &ignored))
        CLOZE_FAIL(err, USAGE, "--%s: \"%s\" is neither true nor false", flag->name, value);
    if (is_harmless(flag, value)) return CLOZE_OK;
    if (!flag->note)
        CLOZE_FAIL(err, USAGE, "--%s %.40s is not built yet in this version; nothing was started",
                   flag->name, value);
    buf_printf(&o->notes, "--%s changes nothing: %s\n", flag->name, flag->note);
    return CLOZE_OK;
}
