"""cloze's prompt classifier in PyTorch: the encoder of transformers, the masked-LM transform at the
mask, and the soft verbalizer's rows. The same weights, the same function."""
import torch
from safetensors.torch import load_file
from transformers import BertForMaskedLM


class PromptClassifier(torch.nn.Module):
    def __init__(self, run_dir, dtype=None):
        super().__init__()
        self.mlm = BertForMaskedLM.from_pretrained(run_dir, attn_implementation="sdpa")
        rows = load_file(f"{run_dir}/prompt.safetensors")["verbalizer.weight"]
        self.verbalizer = torch.nn.Linear(rows.shape[1], rows.shape[0], bias=False)
        self.verbalizer.weight = torch.nn.Parameter(rows)
        # not reached, as in cloze
        self.mlm.cls.predictions.bias.requires_grad = False

    def forward(self, input_ids, attention_mask, token_type_ids, position_ids, masks):
        hidden = self.mlm.bert(input_ids=input_ids, attention_mask=attention_mask,
                               token_type_ids=token_type_ids, position_ids=position_ids)[0]
        at_mask = hidden.gather(1, masks[:, :, None].expand(-1, -1, hidden.shape[-1]))[:, 0]
        return self.verbalizer(self.mlm.cls.predictions.transform(at_mask))


def tensors(batch):
    return {k: torch.from_numpy(v) for k, v in batch.items()}


INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "masks")
