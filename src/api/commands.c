/*
 * The commands of cloze.h: an argument list becomes options, options a run, a run its result. The
 * program and every other caller come in through here.
 */
#include <errno.h>
#include <string.h>

#include "api/api_internal.h"
#include "base/file.h"
#include "base/log.h"
#include "deploy/convert.h"
#include "train/predictor.h"
#include "train/pretrain.h"
#include "train/run.h"

#define RESULT_MAX ((size_t)256 << 20)

static cloze_status parse(options *o, char command, cloze_args args,
                          const cloze_callbacks *callbacks, cloze_error *err) {
    if (args.count < 0 || (args.count > 0 && !args.values))
        CLOZE_FAIL(err, USAGE, "the argument list is empty but has a count of %d", args.count);
    for (int i = 0; i < args.count; i++)
        if (!args.values[i]) CLOZE_FAIL(err, USAGE, "argument %d is NULL", i);
    cloze_status status = options_parse(o, command, args.count, args.values, err);
    if (status != CLOZE_OK)
        options_deinit(o);
    else
        options_tell_notes(o, callbacks);
    return status;
}

/* ---- commands with a result ---- */

typedef cloze_status (*result_command)(options *o, const cloze_callbacks *callbacks, buf *results,
                                       cloze_error *err);

static cloze_status run_for_result(char command, result_command run, cloze_args args,
                                   const cloze_callbacks *callbacks, char **result,
                                   cloze_error *err) {
    options o;
    buf results;
    CLOZE_TRY(parse(&o, command, args, callbacks, err));
    buf_init(&results, RESULT_MAX);
    cloze_status status = run(&o, callbacks, &results, err);
    if (status == CLOZE_OK && !buf_ok(&results))
        status = error_set(err, CLOZE_ERR_MEMORY, "out of memory for the results");
    if (status == CLOZE_OK && result) {
        *result = buf_take(&results);
        if (!*result) status = error_set(err, CLOZE_ERR_MEMORY, "out of memory for the results");
    }
    buf_deinit(&results);
    options_deinit(&o);
    return status;
}

cloze_status cloze_train(cloze_args args, const cloze_callbacks *callbacks, char **result,
                         cloze_error *err) {
    return run_for_result('T', train_run, args, callbacks, result, err);
}

cloze_status cloze_eval(cloze_args args, const cloze_callbacks *callbacks, char **result,
                        cloze_error *err) {
    return run_for_result('E', eval_run, args, callbacks, result, err);
}

cloze_status cloze_pretrain(cloze_args args, const cloze_callbacks *callbacks, char **result,
                            cloze_error *err) {
    return run_for_result('M', pretrain_run, args, callbacks, result, err);
}

cloze_status cloze_convert(cloze_args args, const cloze_callbacks *callbacks, char **result,
                           cloze_error *err) {
    return run_for_result('C', convert_run, args, callbacks, result, err);
}

/* ---- streaming commands ---- */

typedef cloze_status (*stream_command)(const options *o, const cloze_callbacks *callbacks,
                                       const output *out, cloze_error *err);

typedef struct output_file {
    file_writer writer;
    int failure; /* errno of a write that failed */
} output_file;

static int write_to_file(void *user, const char *text, size_t n) {
    output_file *f = user;
    if (fwrite(text, 1, n, f->writer.stream) == n && fflush(f->writer.stream) == 0) return 0;
    f->failure = errno;
    return 1;
}

/* With --output the predictions go to a file, which stands only when all of them are in it. */
static cloze_status predict(const options *o, const cloze_callbacks *callbacks, const output *out,
                            cloze_error *err) {
    output_file f = {.failure = 0};
    if (!o->output || strcmp(o->output, "-") == 0)
        return predict_stream(o, callbacks, out->write, out->user, err);
    CLOZE_TRY(file_writer_open(&f.writer, o->output, err));
    cloze_status status = predict_stream(o, callbacks, write_to_file, &f, err);
    if (status == CLOZE_OK) return file_writer_commit(&f.writer, err);
    file_writer_abort(&f.writer);
    if (f.failure) CLOZE_FAIL(err, IO, "%s: cannot write: %s", o->output, strerror(f.failure));
    return status;
}

static int write_nowhere(void *user, const char *text, size_t n) { return 0; }

static cloze_status run_stream(char command, stream_command run, cloze_args args,
                               const cloze_callbacks *callbacks, cloze_write write,
                               void *write_user, cloze_error *err) {
    options o;
    output out = {write ? write : write_nowhere, write_user};
    CLOZE_TRY(parse(&o, command, args, callbacks, err));
    cloze_status status = run(&o, callbacks, &out, err);
    options_deinit(&o);
    return status;
}

cloze_status cloze_predict(cloze_args args, const cloze_callbacks *callbacks, cloze_write write,
                           void *write_user, cloze_error *err) {
    return run_stream('P', predict, args, callbacks, write, write_user, err);
}

cloze_status cloze_tokenize(cloze_args args, const cloze_callbacks *callbacks, cloze_write write,
                            void *write_user, cloze_error *err) {
    return run_stream('K', tokenize_run, args, callbacks, write, write_user, err);
}

cloze_status cloze_fill(cloze_args args, const cloze_callbacks *callbacks, cloze_write write,
                        void *write_user, cloze_error *err) {
    return run_stream('F', fill_run, args, callbacks, write, write_user, err);
}

cloze_status cloze_inspect(cloze_args args, const cloze_callbacks *callbacks, cloze_write write,
                           void *write_user, cloze_error *err) {
    return run_stream('I', inspect_run, args, callbacks, write, write_user, err);
}

/* ---- help ---- */

cloze_status cloze_help(const char *command, char **text, cloze_error *err) {
    char letter = command ? options_command_letter(command) : 0;
    buf b;
    if (!letter) {
        if (command && options_is_planned_command(command))
            CLOZE_FAIL(err, USAGE,
                       "`cloze %s` is not built yet in this version; nothing was started", command);
        const char *hint = command ? options_nearest_command(command) : NULL;
        if (hint)
            CLOZE_FAIL(err, USAGE, "unknown command \"%.80s\"; did you mean %s?", command, hint);
        CLOZE_FAIL(err, USAGE, "unknown command \"%.80s\" (cloze --help lists the commands)",
                   command ? command : "");
    }
    if (!text) return CLOZE_OK;
    buf_init(&b, RESULT_MAX);
    options_help(letter, &b);
    *text = buf_take(&b);
    buf_deinit(&b);
    if (!*text) CLOZE_FAIL(err, MEMORY, "out of memory for the help");
    return CLOZE_OK;
}

/* "--name" with - and _ the same; *value is what follows '=', or NULL. */
static bool is_flag(const char *argument, const char *name, const char **value) {
    if (!argument || strncmp(argument, "--", 2) != 0) return false;
    argument += 2;
    while (*name && (*name == *argument || (*name == '_' && *argument == '-'))) {
        name++;
        argument++;
    }
    *value = *argument == '=' ? argument + 1 : NULL;
    return !*name && (!*argument || *argument == '=');
}

int cloze_args_flag(cloze_args args, const char *name) {
    int on = 0;
    for (int i = 0; args.values && name && i < args.count; i++) {
        const char *value;
        bool read;
        if (!is_flag(args.values[i], name, &value)) continue;
        if (!value && i + 1 < args.count) value = args.values[i + 1];
        on = value && options_parse_bool(value, &read) ? read : 1;
    }
    return on;
}
