/*
 * The program `cloze`: what its files share. Results go to standard output and nothing else does;
 * progress, log lines and errors go to standard error. It knows the library through cloze.h only.
 */
#ifndef CLOZE_CLI_CLI_H
#define CLOZE_CLI_CLI_H

#include <cloze.h>
#include <stdbool.h>
#include <stddef.h>

/* ---- terminal.c: standard error as a progress bar with log lines above it ---- */

void terminal_init(bool show_progress);
/* The log and progress members of cloze_callbacks. */
void terminal_log(void *user, cloze_log_level level, const char *line);
void terminal_progress(void *user, const cloze_progress *progress);
/* Takes the bar off the screen until the next report; for others who write to the terminal. */
void terminal_clear(void);
/* Columns of text on a terminal: wide characters count two. */
int text_width(const char *text);

/* ---- signals.c ---- */

/* The first SIGINT or SIGTERM raises a flag, the second ends the program with 130. */
void signals_install(void);
/* The interrupted member of cloze_callbacks. */
int signals_interrupted(void *user);

/* ---- report.c: results as tables ---- */

/* JSON results of train, eval and pretrain, printed for people. */
void report_train(const char *json);
void report_eval(const char *json);
void report_pretrain(const char *json);
void report_convert(const char *json);

/* ---- help.c ---- */

/* Usage, examples and flags of a command, or (NULL) of the program. Returns the exit code. */
int help_print(const char *command);

#endif
