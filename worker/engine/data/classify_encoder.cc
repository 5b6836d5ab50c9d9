#include <algorithm>

#include "common/base/status_macros.h"
#include "worker/engine/data/input_encoder.h"
#include "worker/engine/data/labelled_rows.h"
#include "worker/engine/data/pair_layout.h"
#include "worker/engine/data/tsv.h"

namespace galleon {

namespace {

class ClassifyEncoder final : public InputEncoder {
 public:
  ClassifyEncoder(TsvLayout layout, LabelSet labels, PairLayout around, int64_t longest, const Tokenizer& tokenizer)
      : layout_(std::move(layout)),
        labels_(std::move(labels)),
        around_(std::move(around)),
        longest_(longest),
        tokenizer_(tokenizer) {}

  bool has_sequences() const override { return true; }

  absl::StatusOr<EncodedPiece> encode(const InputPiece& piece, const std::string& path) const override {
    EncodedPiece out;
    RETURN_IF_ERROR(for_each_labelled_row(
        layout_, piece, path, &out.bad_rows, &out.left_out,
        [&](const TsvRow& row, int64_t number) { return add_row(row, path, number, piece.file, out); }));
    return out;
  }

 private:
  absl::Status add_row(const TsvRow& row, const std::string& path, int64_t number, size_t file,
                       EncodedPiece& out) const {
    ASSIGN_OR_RETURN(float label, label_value(labels_, row.label, path, number));
    std::vector<std::vector<int32_t>> ids(2);
    for (size_t i = 0; i < row.texts.size(); ++i) tokenizer_.encode(row.texts[i], ids[i]);
    append(ids[0], row.texts.size() > 1 ? &ids[1] : nullptr, label, file, out);
    return absl::OkStatus();
  }

  void append(std::vector<int32_t>& first, std::vector<int32_t>* second, float label, size_t file,
              EncodedPiece& out) const {
    const std::vector<PairLayout::Item>& items = second == nullptr ? around_.single : around_.pair;
    const int64_t marks = static_cast<int64_t>(items.size()) - (second == nullptr ? 1 : 2);
    const int64_t room = std::max<int64_t>(0, longest_ - marks);
    // The longer of the two gives way, token by token; of two equal ones the second.
    auto size = static_cast<int64_t>(first.size());
    int64_t other = second == nullptr ? 0 : static_cast<int64_t>(second->size());
    if (size + other > room) ++out.cut;
    while (size + other > room) --(size > other ? size : other);
    const size_t begin = out.tokens.size();
    bool typed = false;
    uint32_t second_begin = 0;
    for (const PairLayout::Item& item : items) {
      if (item.second && !typed) second_begin = static_cast<uint32_t>(out.tokens.size() - begin);
      typed = typed || item.second;
      if (item.text == 0) {
        append_part(first, size, out.tokens);
      } else if (item.text == 1) {
        append_part(*second, other, out.tokens);
      } else {
        out.tokens.push_back(static_cast<uint32_t>(item.token));
      }
    }
    const auto length = static_cast<uint32_t>(out.tokens.size() - begin);
    out.sequences.push_back({begin, length, typed ? second_begin : length, 1, static_cast<uint32_t>(file), label, 0});
    ++out.documents;
  }

  void append_part(const std::vector<int32_t>& text, int64_t size, std::vector<uint32_t>& tokens) const {
    const auto begin = around_.cuts_begin ? text.end() - size : text.begin();
    tokens.insert(tokens.end(), begin, begin + size);
  }

  TsvLayout layout_;
  LabelSet labels_;
  PairLayout around_;
  int64_t longest_;
  const Tokenizer& tokenizer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<InputEncoder>> make_classify_encoder(const DataOptions& options, const LabelSet& labels,
                                                                    const Tokenizer& tokenizer) {
  ASSIGN_OR_RETURN(TsvLayout layout, tsv_layout(options));
  ASSIGN_OR_RETURN(PairLayout around, pair_layout(tokenizer));
  return std::make_unique<ClassifyEncoder>(layout, labels, std::move(around), options.sequence_length, tokenizer);
}

}  // namespace galleon
