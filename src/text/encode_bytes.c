/* Byte-level BPE straight on the bytes of a text, and RoBERTa's trimming of offsets. */
#include <string.h>

#include "base/mem.h"
#include "text/encoding.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

#define WORD_ROOM 256

int32_t utf8_length(const char *text, size_t n) {
    int32_t count = 0;
    for (size_t i = 0; i < n; i++) count += ((uint8_t)text[i] & 0xC0) != 0x80;
    return count;
}

/* Where a text's characters are from: number i has the source base + i, but for a space that was
 * put in front, which shares its source with the character after it. */
typedef struct char_origin {
    int32_t base;
    bool prefixed;
} char_origin;

static inline int32_t source_of(char_origin o, int32_t i) {
    return o.base + (o.prefixed && i > 0 ? i - 1 : i);
}

/* Appends the tokens of one word whose first character has the number `at`. A token that begins or
 * ends inside a character covers all of it. */
static cloze_status append_tokens(const char *word, const bpe_token *tokens, size_t count,
                                  int32_t at, char_origin origin, encoding *out, cloze_error *err) {
    int32_t begin = 0, last = at - 1; /* last: number of the character before byte `begin` */
    for (size_t i = 0; i < count; i++) {
        int32_t first = last + (((uint8_t)word[begin] & 0xC0) != 0x80);
        last += utf8_length(word + begin, (size_t)(tokens[i].end - begin));
        CLOZE_TRY(encoding_append(out, tokens[i].id, source_of(origin, first),
                                  source_of(origin, last) + 1, err));
        begin = tokens[i].end;
    }
    return CLOZE_OK;
}

static cloze_status encode_words(const tokenizer *tok, const char *text, size_t n,
                                 char_origin origin, encoding *out, cloze_error *err) {
    code_pages *classes = tok->pretokenizer.steps[0].classes;
    bpe_token room[WORD_ROOM];
    int32_t at = 0;
    for (size_t begin = 0, end; begin < n; begin = end) {
        end = gpt2_next_word(classes, text, begin, n);
        if (!end) CLOZE_FAIL(err, MEMORY, "out of memory (code page)");
        bpe_token *tokens = NULL;
        size_t count = 0;
        CLOZE_TRY(bpe_encode_word(&tok->bpe, text + begin, end - begin, room, WORD_ROOM, &tokens,
                                  &count, err));
        cloze_status status = CLOZE_OK;
        if (!out->wants_offsets)
            for (size_t i = 0; i < count && status == CLOZE_OK; i++)
                status = encoding_append(out, tokens[i].id, 0, 0, err);
        else
            status = append_tokens(text + begin, tokens, count, at, origin, out, err);
        bpe_release(tokens, room);
        CLOZE_TRY(status);
        if (out->wants_offsets) at += utf8_length(text + begin, end - begin);
    }
    return CLOZE_OK;
}

cloze_status encode_byte_level(const tokenizer *tok, const char *text, size_t n, int32_t base,
                               encoding *out, cloze_error *err) {
    if (!tok->pretokenizer.steps[0].add_prefix_space || text[0] == ' ')
        return encode_words(tok, text, n, (char_origin){base, false}, out, err);
    char room[512], *copy = n < sizeof room ? room : mem_alloc(n + 1);
    if (!copy) CLOZE_FAIL(err, MEMORY, "out of memory (%zu bytes)", n);
    copy[0] = ' ';
    memcpy(copy + 1, text, n);
    cloze_status status = encode_words(tok, copy, n + 1, (char_origin){base, true}, out, err);
    if (copy != room) mem_free(copy);
    return status;
}

/* Leading (or trailing) characters of a token that stand for a space: the byte-level one, or any.
 */
static int32_t count_spaces(const char *token, size_t n, bool trailing) {
    const uint8_t *p = (const uint8_t *)token, *end = p + n;
    int32_t count = 0;
    while (p < end) {
        uint32_t cp = 0;
        p += unicode_next(p, end, &cp);
        bool space = cp == 0x120 || unicode_is_space(cp);
        if (space)
            count++;
        else if (trailing)
            count = 0;
        else
            break;
    }
    return count;
}

void trim_offsets(const tokenizer *tok, encoding *out, int32_t begin) {
    if (!tok->trim_offsets || !out->wants_offsets) return;
    for (int32_t i = begin; i < out->n; i++) {
        const char *token = tokenizer_id_to_token(tok, out->ids[i]);
        if (!token) continue;
        size_t n = strlen(token);
        int32_t *offsets = out->offsets[i];
        int32_t leading = count_spaces(token, n, false), trailing = count_spaces(token, n, true);
        bool is_first = i == begin || offsets[0] == 0;
        /* One space is one that was put in front; more were in the text. */
        if (is_first && tok->trim_keeps_prefix && leading == 1) leading = 0;
        int32_t from = offsets[0] + leading;
        offsets[0] = from < offsets[1] ? from : offsets[1];
        if (trailing > 0 && offsets[1] >= trailing) {
            int32_t to = offsets[1] - trailing;
            offsets[1] = to > offsets[0] ? to : offsets[0];
        }
    }
}
