/* Finding a checkpoint to go on from, and comparing its flags with today's. */
#include "train/resume.h"

#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "model/locate.h"
#include "train/checkpoint.h"

#define ARGS_FILE "training_args.json"
#define ARGS_MAX ((size_t)16 << 20)

/* ---- which checkpoint ---- */

static cloze_status newest_of(const char *dir, char **checkpoint, cloze_error *err) {
    CLOZE_TRY(checkpoint_find_newest(dir, checkpoint, err));
    if (*checkpoint) return CLOZE_OK;
    if (!file_is_dir(dir))
        CLOZE_FAIL(err, MODEL,
                   "%s: there is no such directory; leave out --resume_from_checkpoint to begin anew",
                   dir);
    CLOZE_FAIL(err, MODEL,
               "%s: there is no checkpoint to go on from; leave out --resume_from_checkpoint to "
               "begin anew",
               dir);
}

bool resume_is_last(const char *flag) {
    bool yes = false;
    return strcmp(flag, "last") == 0 || (options_parse_bool(flag, &yes) && yes);
}

cloze_status resume_find(const options *o, char **checkpoint, cloze_error *err) {
    const char *flag = o->resume_from_checkpoint;
    bool yes = true;
    *checkpoint = NULL;
    if (!flag || (options_parse_bool(flag, &yes) && !yes)) return CLOZE_OK;
    if (resume_is_last(flag)) return newest_of(o->output_dir, checkpoint, err);
    size_t n = strlen(flag);
    while (n > 1 && flag[n - 1] == '/') n--;
    char *path = mem_strndup(flag, n);
    if (!path) CLOZE_FAIL(err, MEMORY, "out of memory");
    if (checkpoint_is(path)) {
        *checkpoint = path;
        return CLOZE_OK;
    }
    cloze_status status = newest_of(path, checkpoint, err);
    mem_free(path);
    return status;
}

/* ---- flags ---- */

/* What a run may do differently without learning anything else: where things are written and said,
 * and files whose content is compared. Recomputing layers gives the same bits. */
static const char *const FREE[] = {
    "data_dir",
    "train_file",
    "dev_file",
    "test_file",
    "label_file",
    "do_eval",
    "do_predict",
    "save_dtype",
    "run_name",
    "report_to",
    "logging_dir",
    "logging_strategy",
    "logging_steps",
    "logging_first_step",
    "save_steps",
    "save_strategy",
    "save_total_limit",
    "num_threads",
    "per_device_eval_batch_size",
    "optim",
    "gradient_checkpointing",
};

/* Wishes that change what is learnt from here on, or which model is chosen. */
static const char *const WISHES[] = {
    "max_steps",
    "num_train_epochs",
    "evaluation_strategy",
    "eval_steps",
    "eval_delay",
    "greater_is_better",
    "load_best_model_at_end",
    "early_stop",
    "early_stopping_patience",
    "early_stopping_threshold",
    "device",
};

static bool is_among(const char *name, const char *const names[], size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

typedef struct comparison {
    const char *checkpoint;
    const cloze_callbacks *callbacks;
} comparison;

/* Two spellings of one model. */
static bool is_same_model(const char *a, const char *b) {
    char *x = NULL, *y = NULL;
    bool same = model_locate(a, &x, NULL) == CLOZE_OK && model_locate(b, &y, NULL) == CLOZE_OK &&
                path_is_same(x, y);
    mem_free(x);
    mem_free(y);
    return same;
}

/* What belongs to the command that is given now, not to the run. */
static const char *const OF_THE_COMMAND[] = {
    "config",       "do_train",
    "output_dir",   "resume_from_checkpoint",
    "json",         "overwrite_output_dir",
    "profile",      "disable_tqdm",
    "profile_file",
};

static cloze_status judge(void *ctx, const char *name, const char *saved, const char *now,
                          bool given, bool *keep, cloze_error *err) {
    const comparison *c = ctx;
    *keep = is_among(name, OF_THE_COMMAND, sizeof OF_THE_COMMAND / sizeof *OF_THE_COMMAND);
    if (!given || *keep) return CLOZE_OK;
    if (is_among(name, FREE, sizeof FREE / sizeof *FREE)) return CLOZE_OK;
    if (strcmp(name, "model_name_or_path") == 0 && is_same_model(saved, now)) return CLOZE_OK;
    if (is_among(name, WISHES, sizeof WISHES / sizeof *WISHES)) {
        log_line(c->callbacks, CLOZE_LOG_WARN,
                 "--%s is %s now and was %s before %s: the run ends otherwise than it would have",
                 name, now, saved, c->checkpoint);
        return CLOZE_OK;
    }
    CLOZE_FAIL(err, USAGE,
               "--%s is %s, but %s was trained with %s; leave the flag out to go on as before, or "
               "train anew with another --output_dir",
               name, now, c->checkpoint, saved);
}

/* Where the checkpoint is, the run goes on. */
static cloze_status set_output_dir(options *o, const char *checkpoint, cloze_error *err) {
    char *parent = path_parent(checkpoint);
    if (!parent) CLOZE_FAIL(err, MEMORY, "out of memory");
    cloze_status status = options_set(o, "output_dir", parent, err);
    mem_free(parent);
    return status;
}

cloze_status resume_adopt_options(options *o, const char *checkpoint,
                                  const cloze_callbacks *callbacks, cloze_error *err) {
    comparison c = {checkpoint, callbacks};
    cJSON *saved = NULL;
    char *path = path_join(checkpoint, ARGS_FILE);
    cloze_status status = path ? json_parse_file(path, ARGS_MAX, CLOZE_ERR_MODEL, &saved, err)
                               : error_set(err, CLOZE_ERR_MEMORY, "out of memory");
    if (status == CLOZE_OK) status = options_adopt(o, saved, path, judge, &c, err);
    json_destroy(saved);
    mem_free(path);
    if (status == CLOZE_OK && !OPTION_IS_SET(o, output_dir))
        status = set_output_dir(o, checkpoint, err);
    return status;
}
