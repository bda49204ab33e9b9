/*
 * cloze.h: the public interface of cloze, few-shot text classification by prompt learning.
 *
 * Everything here is opaque types, one status enum and one caller-owned error. The library never
 * exits, aborts or prints: results are returned, progress and log lines go to the callbacks.
 *
 * Conventions
 *   - Strings are UTF-8 and NUL-terminated unless a length is given.
 *   - Every function that can fail returns cloze_status and takes `cloze_error *err`, which may be
 *     NULL; *err is written only on failure.
 *   - `_create`/`_open` give a handle that the caller ends with `_destroy`/`_close`; both accept
 * NULL. A `char **` result is a heap string that the caller ends with cloze_free().
 */
#ifndef CLOZE_H
#define CLOZE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CLOZE_VERSION "0.1.0"
#if defined(__GNUC__)
#define CLOZE_API __attribute__((visibility("default")))
#else
#define CLOZE_API
#endif

/* code name, process exit code, what it means. The numbers are the program's exit codes. */
#define CLOZE_STATUS_LIST(X)                                                                       \
    X(OK, 0, "done")                                                                               \
    X(ERR_INTERNAL, 1, "internal error")                                                           \
    X(ERR_USAGE, 2, "the command line is wrong")                                                   \
    X(ERR_DATA, 3, "the data is wrong or missing")                                                 \
    X(ERR_MODEL, 4, "the model, checkpoint or saved template is wrong or missing")                 \
    X(ERR_MEMORY, 5, "out of memory")                                                              \
    X(ERR_IO, 6, "the disk, directory or network failed or is busy")                               \
    X(ERR_NONFINITE, 7, "the loss became non-finite")                                              \
    X(ERR_INTERRUPTED, 130, "interrupted")

typedef enum cloze_status {
#define CLOZE_STATUS_ENUM(name, value, text) CLOZE_##name = value,
    CLOZE_STATUS_LIST(CLOZE_STATUS_ENUM)
#undef CLOZE_STATUS_ENUM
} cloze_status;

/* What went wrong, in one line: what, where, how to mend. Owned by the caller. */
typedef struct cloze_error {
    cloze_status code;
    char message[1024];
} cloze_error;

/* The short meaning of a status, a static string; never NULL. Any thread. */
CLOZE_API const char *cloze_status_text(cloze_status status);

/* Frees a string that this library returned through a `char **`. NULL is accepted. */
CLOZE_API void cloze_free(char *text);

typedef enum cloze_log_level { CLOZE_LOG_DEBUG, CLOZE_LOG_INFO, CLOZE_LOG_WARN } cloze_log_level;

/* State of a long step, for a progress bar. Pointers live only during the callback. */
typedef struct cloze_progress {
    const char *task;          /* "train", "eval", "predict", "pretrain", ... */
    int64_t done;              /* units finished */
    int64_t total;             /* units in all; 0 when it is not known */
    const char *unit;          /* "step", "example", "line", ... */
    double seconds;            /* since the task began */
    double loss;               /* NAN when there is none */
    double rate;               /* learning rate; NAN when there is none */
    double samples_per_second; /* NAN when not known */
    int finished;              /* 1 in the last report of a task */
} cloze_progress;

/*
 * Callbacks of a long call. Any may be NULL. They are called from the thread that made the call.
 * `interrupted` is polled between steps: non-zero ends the call cleanly (a training run writes a
 * checkpoint) with CLOZE_ERR_INTERRUPTED.
 */
typedef struct cloze_callbacks {
    void *user;
    void (*log)(void *user, cloze_log_level level, const char *line);
    void (*progress)(void *user, const cloze_progress *progress);
    int (*interrupted)(void *user);
} cloze_callbacks;

/*
 * Commands: the whole of what the program does, as calls. `args` are the flags as on the command
 * line, without the command's name ("--data_dir", "data", "--do_train"): docs and `cloze COMMAND
 * --help` list them. They are checked before any work starts (CLOZE_ERR_USAGE).
 *
 * *result (may be NULL when not wanted) receives a JSON document as a heap string for cloze_free();
 * untouched on failure. Calls may run in several threads at once when their output directories
 * differ.
 */
typedef struct cloze_args {
    int count;
    char *const *values;
} cloze_args;

/* Trains, and evaluates and predicts when asked to. Result: all_results.json. */
CLOZE_API cloze_status cloze_train(cloze_args args, const cloze_callbacks *callbacks, char **result,
                                   cloze_error *err);
/* Metrics of a trained run on a labelled file. */
CLOZE_API cloze_status cloze_eval(cloze_args args, const cloze_callbacks *callbacks, char **result,
                                  cloze_error *err);
/* Masked-LM pre-training on raw text. Result: pretrain_results.json. */
CLOZE_API cloze_status cloze_pretrain(cloze_args args, const cloze_callbacks *callbacks,
                                      char **result, cloze_error *err);

/* Writes a model or run in another format. Result: {"output_dir", "format", "dtype", "tensors",
 * "parameters", "bytes"}. */
CLOZE_API cloze_status cloze_convert(cloze_args args, const cloze_callbacks *callbacks,
                                     char **result, cloze_error *err);

/* Receives the output of the streaming commands piece by piece, in order; each piece is whole
 * lines. A non-zero return ends the call with CLOZE_ERR_IO. */
typedef int (*cloze_write)(void *user, const char *text, size_t n);

/* Labels every line of --input (constant memory, input order) or writes the tokens of every line.
 */
CLOZE_API cloze_status cloze_predict(cloze_args args, const cloze_callbacks *callbacks,
                                     cloze_write write, void *write_user, cloze_error *err);
CLOZE_API cloze_status cloze_tokenize(cloze_args args, const cloze_callbacks *callbacks,
                                      cloze_write write, void *write_user, cloze_error *err);
/* Fills the masks of --text, or of every line of standard input; describes a model, a prompt. */
CLOZE_API cloze_status cloze_fill(cloze_args args, const cloze_callbacks *callbacks,
                                  cloze_write write, void *write_user, cloze_error *err);
CLOZE_API cloze_status cloze_inspect(cloze_args args, const cloze_callbacks *callbacks,
                                     cloze_write write, void *write_user, cloze_error *err);

/* The flags of a command with defaults and help, as text for cloze_free(); ERR_USAGE for a command
 * that there is not. */
CLOZE_API cloze_status cloze_help(const char *command, char **text, cloze_error *err);
/* True when the flags of a command are well-formed and ask for --json / --disable_tqdm; for front
 * ends. */
CLOZE_API int cloze_args_flag(cloze_args args, const char *name);

/*
 * A predictor: a trained run, opened once and used from any number of threads at a time. Each call
 * borrows a session of its own from the predictor.
 */
typedef struct cloze_predictor cloze_predictor;
typedef struct cloze_predictor_options {
    int bf16;        /* products in bfloat16 */
    int num_threads; /* of one call; 0 = one for each core */
} cloze_predictor_options;

/* options may be NULL. */
CLOZE_API cloze_status cloze_predictor_open(const char *run_dir,
                                            const cloze_predictor_options *options,
                                            cloze_predictor **out, cloze_error *err);
CLOZE_API void cloze_predictor_close(cloze_predictor *predictor);
CLOZE_API int32_t cloze_predictor_label_count(const cloze_predictor *predictor);
/* Borrowed, lives as long as the predictor; NULL when out of range. */
CLOZE_API const char *cloze_predictor_label(const cloze_predictor *predictor, int32_t i);
/* probabilities (n, label count) of n texts; texts_b NULL, or the second text of each pair. A text
 * that is not UTF-8 is CLOZE_ERR_DATA. */
CLOZE_API cloze_status cloze_predictor_run(cloze_predictor *predictor, const char *const *texts,
                                           const char *const *texts_b, size_t n,
                                           float *probabilities, cloze_error *err);

/*
 * What the model reads of one text: token ids within the template, special tokens included. For
 * callers that have their own tokenizer, or that ask many times about the same texts.
 */
typedef struct cloze_input {
    const int32_t *input_ids;        /* (n_tokens) */
    const int32_t *token_type_ids;   /* (n_tokens); NULL = all 0 */
    const int32_t *position_ids;     /* (n_tokens); NULL = 0, 1, 2, ... */
    const int32_t *masked_positions; /* (n_masks) rising; NULL without masks (fine-tuning) */
    int32_t n_tokens, n_masks;
} cloze_input;

/* Inputs that one text makes: 1, or one for each length when label words have several. */
CLOZE_API int32_t cloze_predictor_inputs_per_text(const cloze_predictor *predictor);
/* *inputs (n * inputs_per_text), text by text, of n texts; ends with cloze_inputs_free(). */
CLOZE_API cloze_status cloze_predictor_encode(cloze_predictor *predictor, const char *const *texts,
                                              const char *const *texts_b, size_t n,
                                              cloze_input **inputs, cloze_error *err);
CLOZE_API void cloze_inputs_free(cloze_input *inputs);
/* The same as cloze_predictor_run, from the inputs (n * inputs_per_text) of n texts. Ids, types and
 * positions that the model does not have, and another number of masks than it was trained with, are
 * CLOZE_ERR_DATA. */
CLOZE_API cloze_status cloze_predictor_run_inputs(cloze_predictor *predictor,
                                                  const cloze_input *inputs, size_t n,
                                                  float *probabilities, cloze_error *err);

#ifdef __cplusplus
}
#endif
#endif
