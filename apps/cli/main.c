/*
 * cloze: the program. Dispatches to the library, prints results for people or as JSON, and ends
 * with the status of the call as its exit code.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/* ---- commands ---- */

typedef cloze_status (*result_call)(cloze_args, const cloze_callbacks *, char **, cloze_error *);
typedef cloze_status (*stream_call)(cloze_args, const cloze_callbacks *, cloze_write, void *,
                                    cloze_error *);

static const struct command {
    const char *name;
    result_call result; /* one of the two is there */
    stream_call stream;
    void (*report)(const char *json);
} COMMANDS[] = {
    {"train", cloze_train, NULL, report_train},
    {"eval", cloze_eval, NULL, report_eval},
    {"pretrain", cloze_pretrain, NULL, report_pretrain},
    {"convert", cloze_convert, NULL, report_convert},
    {"predict", NULL, cloze_predict, NULL},
    {"fill", NULL, cloze_fill, NULL},
    {"tokenize", NULL, cloze_tokenize, NULL},
    {"inspect", NULL, cloze_inspect, NULL},
};

static const struct command *find_command(const char *name) {
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (strcmp(COMMANDS[i].name, name) == 0) return &COMMANDS[i];
    return NULL;
}

/* Output of the streaming commands. errno of a failed write is kept in *user. */
static int write_stdout(void *user, const char *text, size_t n) {
    int *failure = user;
    if (isatty(STDOUT_FILENO)) terminal_clear();
    errno = 0;
    if (fwrite(text, 1, n, stdout) == n && fflush(stdout) == 0) return 0;
    *failure = errno;
    return 1;
}

/* A reader that goes away, as in `cloze predict ... | head`, has what it wanted: nothing is said.
 */
static int fail(const char *command, const cloze_error *error, int write_errno) {
    terminal_clear();
    if (write_errno == EPIPE) return (int)error->code;
    fprintf(stderr, "cloze %s: %s", command, error->message);
    if (write_errno) fprintf(stderr, ": %s", strerror(write_errno));
    fputc('\n', stderr);
    return (int)error->code;
}

static int run(const struct command *c, cloze_args args) {
    cloze_error error = {CLOZE_OK, ""};
    cloze_callbacks callbacks = {
        .log = terminal_log, .progress = terminal_progress, .interrupted = signals_interrupted};
    cloze_status status;
    int write_errno = 0;
    char *json = NULL;
    if (c->result)
        status = c->result(args, &callbacks, &json, &error);
    else
        status = c->stream(args, &callbacks, write_stdout, &write_errno, &error);
    if (status != CLOZE_OK) return fail(c->name, &error, write_errno);
    terminal_clear();
    if (json && cloze_args_flag(args, "json"))
        fputs(json, stdout);
    else if (json)
        c->report(json);
    cloze_free(json);
    return CLOZE_OK;
}

/* Buffered results that cannot be written are a failure, too. */
static int finish(const char *command, int code) {
    errno = 0;
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == CLOZE_OK) {
        if (errno != EPIPE)
            fprintf(stderr, "cloze %s: the output could not be written: %s\n", command,
                    errno ? strerror(errno) : "is the disk full?");
        return CLOZE_ERR_IO;
    }
    return code;
}

/*
 * OpenMP's threads spin for some ten milliseconds wherever they wait for each other, unless its
 * environment says otherwise. On a machine that does other work besides, the spinning takes the
 * time of the very thread that is waited for: training was seen to take forty times as long. A
 * thousand rounds (some 40 us) bridge the gaps between kernels. libgomp reads its environment when
 * it is loaded, before main, so the program starts over with it.
 */
static void bound_spinning(char **argv) {
    char self[4096];
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0 || setenv("GOMP_SPINCOUNT", "1000", 1) != 0) return;
    self[n] = 0;
    execv(self, argv); /* where that fails we go on as we are */
}

static bool wants_help(const char *argument) {
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

/* A page of help or a report is one write, at the end: `cloze train --help | head` then fails, if it
 * does, where finish() sees why. */
static void hold_output(void) {
    static char buffer[1 << 18];
    if (!isatty(STDOUT_FILENO)) setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
}

int main(int argc, char **argv) {
    signals_install();
    hold_output();
    if (argc < 2 || wants_help(argv[1])) return finish("--help", help_print(NULL));
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        puts("cloze " CLOZE_VERSION);
        return finish(name, CLOZE_OK);
    }
    if (strcmp(name, "help") == 0) return finish(name, help_print(argc > 2 ? argv[2] : NULL));
    const struct command *command = find_command(name);
    if (!command) return help_print(name); /* says that there is none, and which is near */
    for (int i = 2; i < argc; i++)
        if (wants_help(argv[i])) return finish(name, help_print(name));
    bound_spinning(argv);
    cloze_args args = {argc - 2, argv + 2};
    terminal_init(!cloze_args_flag(args, "disable_tqdm"));
    return finish(name, run(command, args));
}
