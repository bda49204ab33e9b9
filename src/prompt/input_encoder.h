/*
 * From examples to token ids: through a template (prompt learning, zero-shot) or plain
 * ([CLS] A [SEP] B [SEP]: fine-tuning). The fixed parts of a template are tokenized once.
 *
 * Equal to PaddleNLP's MLMPromptTokenizer: [CLS], the parts, [SEP]; each part is tokenized on its
 * own; position ids run from 0 at [CLS], a part's `position` (when > 0) starts them anew; token
 * types stick from part to part and are 0 for [CLS] and the last [SEP]; too long an input is cut in
 * parts that may be cut, the longest first, to equal lengths. Where no part may be cut it stays as
 * long as it is, as long as the model's maximum allows.
 *
 * The last [SEP] has position id 0: that is what PaddleNLP passes to its models, and so what
 * checkpoints of its users were trained with; natural_sep_position gives it the running position.
 * Unlike PaddleNLP, a mask token in a TEXT is never a mask position (it would break the batch).
 */
#ifndef CLOZE_PROMPT_INPUT_ENCODER_H
#define CLOZE_PROMPT_INPUT_ENCODER_H

#include "prompt/dataset.h"
#include "prompt/template.h"
#include "text/tokenizer.h"

typedef struct input_options {
    int32_t max_seq_length; /* tokens, special ones included; 0 = 512 */
    int32_t n_masks;        /* masks of a single mask part without a length; 0 = 1 */
    bool truncate_left;
    bool natural_sep_position;
    bool cut_last_first; /* the last part that may be cut gives way first, then the one before */
    /* Names of the two text fields besides text_a and text_b (the columns of the data); may be
     * NULL. */
    const char *text_field, *text_b_field;
} input_options;

typedef struct input_span {
    template_kind kind;
    int32_t part;
    int32_t begin, end;
} input_span;

/* One encoded example: growing storage that is used again. Zeroed storage is valid and empty. */
typedef struct encoded_example {
    int32_t *input_ids, *token_type_ids, *position_ids; /* (n) */
    int32_t *soft_token_ids, *encoder_ids;              /* (n), 0 = an ordinary token */
    int32_t *masked_positions;                          /* (n_masks) rising */
    input_span *spans; /* (n_spans) part -1 = the special tokens around; none for plain input */
    int32_t n, n_masks, n_spans;
    int32_t n_cut; /* tokens that were left out */
    int32_t cap, mask_cap, span_cap;
    encoding scratch;
} encoded_example;
void encoded_example_deinit(encoded_example *e);

typedef struct input_encoder input_encoder;

/* tmpl NULL = plain fine-tuning input. tmpl and tok must outlive the encoder. A template that
 * leaves no room for text, or has no mask, is CLOZE_ERR_USAGE with the numbers. */
cloze_status input_encoder_create(const template_t *tmpl, const tokenizer *tok,
                                  const input_options *opts, input_encoder **out, cloze_error *err);
void input_encoder_destroy(input_encoder *encoder); /* NULL is accepted */
/* Any number of threads, each with its own `out`. A field that the example lacks is
 * CLOZE_ERR_DATA. */
cloze_status input_encoder_encode(const input_encoder *encoder, const example *ex,
                                  encoded_example *out, cloze_error *err);
int32_t input_encoder_num_masks(const input_encoder *encoder); /* of every example; plain: 0 */

/* The three steps above for one text. */
cloze_status template_encode(const template_t *tmpl, const tokenizer *tok, const example *ex,
                             const input_options *opts, encoded_example *out, cloze_error *err);

#endif
