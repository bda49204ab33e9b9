/* What the tests of the prompt room share: expected errors, and a tiny vocabulary. */
#ifndef CLOZE_TESTS_PROMPT_CHECK_H
#define CLOZE_TESTS_PROMPT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

/* code and a piece of the message; "" = any message. */
#define CHECK_ERROR(status, err, code, piece)                                                      \
    check_error((status), &(err), (code), (piece), __FILE__, __LINE__)
static inline void check_error(cloze_status status, const cloze_error *err, cloze_status code,
                               const char *piece, const char *file, int line) {
    if (status == code && err->code == code && strstr(err->message, piece)) return;
    print_error("%s:%d: got %d \"%s\", wanted %d \"%s\"\n", file, line, (int)status,
                status == CLOZE_OK ? "(no error)" : err->message, (int)code, piece);
    _fail(file, line);
}

#define CHECK_OK(status, err)                                                                      \
    do {                                                                                           \
        cloze_status status_ = (status);                                                           \
        if (status_ != CLOZE_OK) {                                                                 \
            print_error("%s:%d: %s\n", __FILE__, __LINE__, (err).message);                         \
            _fail(__FILE__, __LINE__);                                                             \
        }                                                                                          \
    } while (0)

#endif
