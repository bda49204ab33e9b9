/* covers: src/train/state.c src/train/resume.c */
/* dictionary: resume.dict */
/*
 * What a checkpoint says of the run that wrote it: refused with a message, or a state that reads
 * back from what is written of it, and options for going on. Input: trainer_state.json,
 * resume_state.json and training_args.json, each ended by NUL.
 */
#include "fuzz_files.h"
#include "train/resume.h"
#include "train/state.h"

static void write_both(const trainer_state *s, const char *dir) {
    cloze_error err = {0};
    if (dir_create(dir, &err) != CLOZE_OK || trainer_state_write(s, dir, &err) != CLOZE_OK ||
        trainer_state_write_resume(s, dir, &err) != CLOZE_OK)
        abort();
}

static void check_same(const char *a, const char *b) {
    char *x, *y;
    size_t n_x, n_y;
    if (file_read(a, 1 << 26, CLOZE_ERR_DATA, &x, &n_x, NULL) != CLOZE_OK ||
        file_read(b, 1 << 26, CLOZE_ERR_DATA, &y, &n_y, NULL) != CLOZE_OK)
        abort();
    if (n_x != n_y || memcmp(x, y, n_x) != 0) abort();
    mem_free(x);
    mem_free(y);
}

/* Written, read and written again: the same bytes. */
static void read_state(void) {
    trainer_state s, again;
    cloze_error err = {0};
    trainer_state_init(&s);
    trainer_state_init(&again);
    cloze_status status = trainer_state_read(&s, fuzz_path("checkpoint-7"), &err);
    if (status == CLOZE_OK) {
        write_both(&s, fuzz_path("first"));
        if (trainer_state_read(&again, fuzz_path("first"), &err) != CLOZE_OK) abort();
        write_both(&again, fuzz_path("second"));
        check_same(fuzz_path("first/resume_state.json"), fuzz_path("second/resume_state.json"));
    } else if (status != CLOZE_ERR_MODEL || !err.message[0]) {
        abort();
    }
    trainer_state_deinit(&s);
    trainer_state_deinit(&again);
}

static void adopt_options(void) {
    char *argv[] = {"--resume_from_checkpoint", (char *)fuzz_path("checkpoint-7"),
                    "--learning_rate", "3e-5", "--logging_steps", "5", "--max_steps", "9"};
    options o;
    char *found = NULL;
    buf text;
    cloze_error err = {0};
    if (options_parse(&o, 'T', 8, argv, &err) != CLOZE_OK) abort();
    if (resume_find(&o, &found, &err) == CLOZE_OK) {
        cloze_status status = resume_adopt_options(&o, found, NULL, &err);
        if (status != CLOZE_OK && (err.code != status || !err.message[0])) abort();
        if (status == CLOZE_OK && (o.max_steps != 9 || o.learning_rate != 3e-5)) abort();
        buf_init(&text, 1 << 20);
        options_write_json(&o, &text);
        buf_deinit(&text);
    }
    mem_free(found);
    options_deinit(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (dir_create(fuzz_path("checkpoint-7"), NULL) != CLOZE_OK) abort();
    fuzz_put_part("checkpoint-7/trainer_state.json", &data, &size);
    fuzz_put_part("checkpoint-7/resume_state.json", &data, &size);
    fuzz_put_part("checkpoint-7/training_args.json", &data, &size);
    read_state();
    adopt_options();
    return 0;
}
