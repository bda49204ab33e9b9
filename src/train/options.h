/*
 * The options of a command: one struct made from options.def, filled from a --config file and the
 * argument list, which wins, and checked before any work starts. `-` and `_` are the same in a
 * flag's name; `--flag value` and
 * `--flag=value` both work; a boolean flag stands alone or takes true/false.
 */
#ifndef CLOZE_TRAIN_OPTIONS_H
#define CLOZE_TRAIN_OPTIONS_H

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"

enum option_index {
#define OPTION_GROUP_NAME_(line) OPTION_GROUP_##line,
#define OPTION_GROUP_NAME(line) OPTION_GROUP_NAME_(line)
#define OPT_GROUP(title) OPTION_GROUP_NAME(__LINE__) /* a heading takes a row too */
#define OPT_STRING(name, ...) OPTION_##name,
#define OPT_INT(name, ...) OPTION_##name,
#define OPT_REAL(name, ...) OPTION_##name,
#define OPT_BOOL(name, ...) OPTION_##name,
#define OPT_CHOICE(name, ...) OPTION_##name,
#include "train/options.def"
    OPTION_COUNT
};

#undef OPT_GROUP
#undef OPT_STRING
#undef OPT_INT
#undef OPT_REAL
#undef OPT_BOOL
#undef OPT_CHOICE

typedef struct options {
#define OPT_GROUP(title)
#define OPT_STRING(name, ...) const char *name;
#define OPT_INT(name, ...) int64_t name;
#define OPT_REAL(name, ...) double name;
#define OPT_BOOL(name, ...) bool name;
#define OPT_CHOICE(name, ...) const char *name;
#include "train/options.def"
    uint8_t is_set[OPTION_COUNT]; /* given by the user: an option_source */
    bool finetune_names;          /* a flag of the fine-tuning script was among them */
    buf notes;                    /* lines on flags that were taken without effect */
    char command;                 /* the command's letter in options.def */
    arena memory;                 /* strings */
} options;

/* Who gave an option its value. */
typedef enum option_source { OPTION_DEFAULT, OPTION_CONFIG, OPTION_ARGUMENT } option_source;

#define OPTION_IS_SET(o, name) ((o)->is_set[OPTION_##name])
#undef OPT_GROUP
#undef OPT_STRING
#undef OPT_INT
#undef OPT_REAL
#undef OPT_BOOL
#undef OPT_CHOICE

/* The letter of a command name ("train"), 0 when there is none. */
char options_command_letter(const char *command);
/* The command that `name` was probably meant to be; NULL when none is near. */
const char *options_nearest_command(const char *name);
/* A command that the documentation of cloze names and that this version does not have. */
bool options_is_planned_command(const char *name);
/* true, yes, on, 1 and their opposites; false when text is neither. */
bool options_parse_bool(const char *text, bool *out);
/* Defaults, then argv[0..argc): every error is ERR_USAGE and names the flag (and the nearest known
 * one). */
cloze_status options_parse(options *o, char command, int argc, char *const argv[],
                           cloze_error *err);
void options_deinit(options *o);
/* Sets one option by name, as if it had been given. */
cloze_status options_set(options *o, const char *name, const char *value, cloze_error *err);
/* Logs and forgets the notes on flags that were taken without effect. */
void options_tell_notes(options *o, const cloze_callbacks *callbacks);
/* The flags of a command with defaults, as --help shows them, 80 columns. */
void options_help(char command, buf *out);
/* Asked for each option whose value is not that of an earlier run (both as text, "(none)" where
 * there is none). given: the user set it; an error refuses it. Otherwise it gets the earlier value,
 * unless *keep is set to true. */
typedef cloze_status (*options_judge)(void *ctx, const char *name, const char *saved,
                                      const char *now, bool given, bool *keep, cloze_error *err);
/* Options that were not given take the values of an earlier run's training_args.json (`what` in
 * messages, whose code is MODEL); those of flags that it does not know stay. */
cloze_status options_adopt(options *o, const cJSON *saved, const char *what, options_judge judge,
                           void *ctx, cloze_error *err);
/* All options of the command as a JSON object, sorted by name: training_args.json, which --config
 * reads back. What the model decides unless it was given (max_seq_length, do_lower_case) is null
 * then. */
void options_write_json(const options *o, buf *out);

#endif
