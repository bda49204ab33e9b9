/* Flags and commands by name: aliases, and what was probably meant. */
#include <stdio.h>
#include <string.h>

#include "train/options_internal.h"

static const struct {
    const char *command;
    char letter;
} COMMANDS[] = {
    {"train", 'T'},    {"eval", 'E'},    {"predict", 'P'},  {"fill", 'F'},
    {"tokenize", 'K'}, {"inspect", 'I'}, {"pretrain", 'M'}, {"convert", 'C'},
};

/* Other names of flags: the fine-tuning script of the tutorial, newer Hugging Face names, habits.
 */
static const struct {
    const char *alias;
    int option;
    const char *commands;
    bool finetune;
} ALIASES[] = {
    {"dataset_dir", OPTION_data_dir, "T", true},
    {"save_dir", OPTION_output_dir, "T", true},
    {"epochs", OPTION_num_train_epochs, "TM", true},
    {"batch_size", OPTION_per_device_train_batch_size, "T", true},
    {"model_name", OPTION_model, "I", true},
    {"model_name", OPTION_model_name_or_path, "TM", true},
    {"early_stop_nums", OPTION_early_stopping_patience, "T", true},
    {"valid_steps", OPTION_eval_steps, "T", true},
    {"eval_strategy", OPTION_evaluation_strategy, "TM", false},
    {"train_batch_size", OPTION_per_device_train_batch_size, "TM", false},
    {"eval_batch_size", OPTION_per_device_eval_batch_size, "T", false},
    {"per_gpu_train_batch_size", OPTION_per_device_train_batch_size, "TM", false},
    {"per_gpu_eval_batch_size", OPTION_per_device_eval_batch_size, "T", false},
    {"validation_file", OPTION_dev_file, "TM", false},
    {"warmup_proportion", OPTION_warmup_ratio, "TM", false},
    {"max_length", OPTION_max_seq_length, "TEPI", false},
    {"model_name_or_path", OPTION_model, "EPFKI", false},
};

char options_command_letter(const char *command) {
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (strcmp(COMMANDS[i].command, command) == 0) return COMMANDS[i].letter;
    return 0;
}

const char *option_command_name(char letter) {
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (COMMANDS[i].letter == letter) return COMMANDS[i].command;
    return "";
}

bool option_is_listed(const option_row *row, char command) {
    return row->kind != KIND_GROUP && strchr(row->commands, command) != NULL;
}

/* inspect takes the flags of train too: they change its forecast. */
static bool takes(const option_row *row, char command) {
    return option_is_listed(row, command) || (command == 'I' && option_is_listed(row, 'T'));
}

/* ---- what was meant ---- */

/* Levenshtein distance of two short names. */
static int distance(const char *a, const char *b) {
    enum { MAX = 48 };
    int row[MAX + 1];
    int n = (int)strlen(b), m = (int)strlen(a);
    if (n > MAX || m > MAX) return MAX;
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; i <= m; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int up = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (up + 1 < best) best = up + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = up;
            row[j] = best;
        }
    }
    return row[n];
}

/* Keeps `name` when it is nearer to what was typed than the best so far. */
typedef struct nearest_name {
    const char *typed, *best;
    int distance;
} nearest_name;

static nearest_name nearest_to(const char *typed) {
    return (nearest_name){typed, NULL, 2 + (int)strlen(typed) / 3};
}

static void nearest_try(nearest_name *n, const char *name) {
    int d = distance(n->typed, name);
    if (d >= n->distance) return;
    n->distance = d;
    n->best = name;
}

const char *options_nearest_command(const char *name) {
    nearest_name n = nearest_to(name);
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        nearest_try(&n, COMMANDS[i].command);
    return n.best;
}

bool options_is_planned_command(const char *name) {
    static const char *const planned[] = {"infer",  "pet",   "search",  "generate",
                                          "export", "serve", "explain", "compare"};
    for (size_t i = 0; i < sizeof planned / sizeof *planned; i++)
        if (strcmp(planned[i], name) == 0) return true;
    return false;
}

/* The commands that know a flag by this name, as letters; NULL when none does. */
static const char *commands_with(const char *name) {
    for (int i = 0; i < OPTION_COUNT; i++)
        if (OPTION_ROWS[i].kind != KIND_GROUP && strcmp(OPTION_ROWS[i].name, name) == 0)
            return OPTION_ROWS[i].commands;
    for (size_t i = 0; i < sizeof ALIASES / sizeof *ALIASES; i++)
        if (strcmp(ALIASES[i].alias, name) == 0) return ALIASES[i].commands;
    return NULL;
}

/* A flag that exists, but not for this command: says which commands have it. */
static cloze_status misplaced_flag(char command, const char *name, const char *commands,
                                   cloze_error *err) {
    char list[128] = "";
    size_t used = 0, n = strlen(commands);
    for (size_t i = 0; i < n && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
                                 i == 0       ? ""
                                 : i + 1 == n ? " and "
                                              : ", ",
                                 option_command_name(commands[i]));
    CLOZE_FAIL(err, USAGE, "--%s is not a flag of `cloze %s`; %s %s it", name,
               option_command_name(command), list, n == 1 ? "has" : "have");
}

static cloze_status unknown_flag(char command, const char *name, cloze_error *err) {
    const char *commands = commands_with(name);
    nearest_name n = nearest_to(name);
    if (commands && !commands[0])
        CLOZE_FAIL(err, USAGE, "--%s is not built yet in this version; nothing was started", name);
    if (commands) return misplaced_flag(command, name, commands, err);
    for (int i = 0; i < OPTION_COUNT; i++)
        if (takes(&OPTION_ROWS[i], command)) nearest_try(&n, OPTION_ROWS[i].name);
    for (size_t i = 0; i < sizeof ALIASES / sizeof *ALIASES; i++)
        if (strchr(ALIASES[i].commands, command)) nearest_try(&n, ALIASES[i].alias);
    if (n.best) CLOZE_FAIL(err, USAGE, "unknown flag --%s; did you mean --%s?", name, n.best);
    CLOZE_FAIL(err, USAGE, "unknown flag --%s (cloze %s --help lists them)", name,
               option_command_name(command));
}

/* ---- finding ---- */

/* The rows that --help lists come first, so that an alias may have the name of another command's
 * flag. */
static int find_row(char command, const char *name, bool listed) {
    for (int i = 0; i < OPTION_COUNT; i++) {
        const option_row *row = &OPTION_ROWS[i];
        if ((listed ? option_is_listed(row, command) : takes(row, command)) &&
            strcmp(row->name, name) == 0)
            return i;
    }
    return -1;
}

static int find_alias(options *o, const char *name) {
    for (size_t i = 0; i < sizeof ALIASES / sizeof *ALIASES; i++) {
        const char *commands = ALIASES[i].commands;
        bool takes_it =
            strchr(commands, o->command) || (o->command == 'I' && strchr(commands, 'T'));
        if (!takes_it || strcmp(ALIASES[i].alias, name) != 0) continue;
        o->finetune_names = o->finetune_names || ALIASES[i].finetune;
        return ALIASES[i].option;
    }
    return -1;
}

cloze_status option_find(options *o, const char *name, option_target *out, cloze_error *err) {
    *out = (option_target){.index = find_row(o->command, name, true)};
    if (out->index < 0) out->index = find_alias(o, name);
    if (out->index < 0) out->index = find_row(o->command, name, false);
    if (out->index < 0) out->accepted = option_accepted(o->command, name);
    if (out->index >= 0 || out->accepted) return CLOZE_OK;
    return unknown_flag(o->command, name, err);
}

bool option_target_is_bool(option_target t) {
    if (t.accepted) return option_accepted_is_bool(t.accepted);
    return OPTION_ROWS[t.index].kind == KIND_BOOL;
}
