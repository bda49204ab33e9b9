/* What the options_*.c share: the table of options.def as rows, and setting by row. */
#ifndef CLOZE_TRAIN_OPTIONS_INTERNAL_H
#define CLOZE_TRAIN_OPTIONS_INTERNAL_H

#include "train/options.h"

typedef enum option_kind {
    KIND_GROUP,
    KIND_STRING,
    KIND_INT,
    KIND_REAL,
    KIND_BOOL,
    KIND_CHOICE
} option_kind;

typedef struct option_row {
    const char *name; /* a group: its title */
    option_kind kind;
    size_t offset;    /* in struct options */
    const char *text; /* default of a string or choice */
    double number, min, max;
    const char *commands;
    const char *metavar; /* a choice: its choices */
    const char *help;
} option_row;

extern const option_row OPTION_ROWS[OPTION_COUNT]; /* indexed by enum option_index */

static inline void *option_field(const options *o, const option_row *row) {
    return (char *)o + row->offset;
}
/* Whether --help of a command lists the row. */
bool option_is_listed(const option_row *row, char command);
const char *option_command_name(char letter);

/* A flag that scripts pass and that has no row: see options_accepted.c. */
typedef struct accepted_flag accepted_flag;
const accepted_flag *option_accepted(char command, const char *name); /* NULL: there is none */
bool option_accepted_is_bool(const accepted_flag *flag);
/* Takes its value, with a note for the user where it means nothing here. */
cloze_status option_accept(options *o, const accepted_flag *flag, const char *value,
                           cloze_error *err);

/* A flag by its name, dashes made underscores: a row or an accepted flag. */
typedef struct option_target {
    int index; /* -1: accepted is there */
    const accepted_flag *accepted;
} option_target;
/* ERR_USAGE, with the nearest name, for an unknown one. */
cloze_status option_find(options *o, const char *name, option_target *out, cloze_error *err);
bool option_target_is_bool(option_target t);
/* name: the flag as it was written, for messages. */
cloze_status option_set(options *o, option_target t, const char *name, const char *value,
                        option_source source, cloze_error *err);

void options_set_defaults(options *o, char command);
/* What one flag implies for others; every implication is a documented rule of the commands. */
void options_apply_rules(options *o);
/* As JSON. */
void option_write_value(const options *o, const option_row *row, buf *out);

/* --config FILE: sets every member of a flat JSON object. Errors name file:line:column. */
cloze_status options_read_config(options *o, const char *path, cloze_error *err);

#endif
