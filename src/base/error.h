/* Status codes and the caller-owned error: how every fallible function of cloze reports. */
#ifndef CLOZE_BASE_ERROR_H
#define CLOZE_BASE_ERROR_H

#include "cloze.h"

/* Writes code and formatted message to err (when not NULL) and returns code. */
cloze_status error_set(cloze_error *err, cloze_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the message that err already holds; returns err's code. */
cloze_status error_prefix(cloze_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Returns from the calling function when `call` failed. */
#define CLOZE_TRY(call)                                                                           \
    do {                                                                                          \
        cloze_status try_status_ = (call);                                                        \
        if (try_status_ != CLOZE_OK) return try_status_;                                          \
    } while (0)

/* Jumps to `label` when `call` failed; `status` (a variable) keeps the code. */
#define CLOZE_TRY_GOTO(status, call, label)                                                       \
    do {                                                                                          \
        (status) = (call);                                                                        \
        if ((status) != CLOZE_OK) goto label;                                                     \
    } while (0)

/* Sets the error and returns: CLOZE_FAIL(err, DATA, "%s:%d: no tab", path, line). The constant in
 * the return shows the compiler that a call which set no output was a failure. */
#define CLOZE_FAIL(err, code, ...)                                                                \
    do {                                                                                          \
        error_set((err), CLOZE_ERR_##code, __VA_ARGS__);                                          \
        return CLOZE_ERR_##code;                                                                  \
    } while (0)

#endif
