/* Appending to an encoding, for the files of this room. */
#ifndef CLOZE_TEXT_ENCODING_H
#define CLOZE_TEXT_ENCODING_H

#include "text/tokenizer.h"

/* Room for `extra` more tokens. */
cloze_status encoding_reserve(encoding *e, int64_t extra, cloze_error *err);

/* Appends one token; offsets [begin,end) and type are stored where they are wanted. */
static inline cloze_status encoding_append(encoding *e, int32_t id, int32_t begin, int32_t end,
                                           cloze_error *err) {
    if (__builtin_expect(e->n == e->cap, 0)) CLOZE_TRY(encoding_reserve(e, 1, err));
    e->ids[e->n] = id;
    if (e->wants_offsets) {
        e->offsets[e->n][0] = begin;
        e->offsets[e->n][1] = end;
    }
    if (e->wants_token_types) e->token_types[e->n] = 0;
    e->n++;
    return CLOZE_OK;
}

/* Removes tokens [begin, begin+count). */
void encoding_remove(encoding *e, int32_t begin, int32_t count);

#endif
