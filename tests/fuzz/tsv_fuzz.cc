// Any bytes as a file of tab-separated columns: rows and labels are read, or refused with file and line. The first byte
// says in how large pieces, and whether there is a header.
#include "worker/engine/data/tsv.h"

#include "common/base/status_macros.h"
#include "tests/fuzz/fuzz_file.h"
#include "worker/engine/data/json_lines.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const galleon::FuzzFile file(data + 1, size - 1);
  galleon::DataOptions options;
  options.format = "tsv";
  options.train = {file.path()};
  (void)galleon::find_labels(options);

  galleon::TsvLayout layout;
  layout.header = data[0] % 2 == 0;
  layout.text_columns = {"sentence"};
  layout.label_column = "label";
  layout.text_places = {1};
  layout.label_place = 0;
  galleon::LabelSet labels;
  labels.names = {"no", "yes"};
  labels.regression = data[0] % 4 >= 2;
  galleon::PieceOptions pieces;
  pieces.piece_bytes = 1 + data[0];
  pieces.tsv_header = layout.header;
  galleon::PieceReader reader({{file.path(), galleon::InputFormat::kTsv}}, 0, pieces);
  size_t bytes = 0;
  while (true) {
    const absl::StatusOr<std::optional<galleon::InputPiece>> piece = reader.next();
    if (!piece.ok() || !piece->has_value()) break;
    bytes += (*piece)->text.size();
    if (bytes > size) __builtin_trap();
    const absl::StatusOr<galleon::TsvColumns> columns =
        galleon::TsvColumns::create(layout, (*piece)->header, file.path());
    if (!columns.ok()) break;
    (void)galleon::for_each_line(**piece, [&](absl::string_view line, int64_t number) {
      galleon::TsvRow row;
      RETURN_IF_ERROR(columns->read(line, galleon::line_name(file.path(), number), row));
      return galleon::label_value(labels, row.label, file.path(), number).status();
    });
    (void)galleon::for_each_json_line(**piece, file.path(), nullptr,
                                      [](const nlohmann::ordered_json&, int64_t) { return absl::OkStatus(); });
  }
  // The same bytes as rows of other formats; lines of an array are as long as it at most.
  for (const galleon::InputFormat format :
       {galleon::InputFormat::kCsv, galleon::InputFormat::kTabRows, galleon::InputFormat::kJsonArray}) {
    galleon::PieceReader rows({{file.path(), format}}, 0, pieces);
    galleon::BadRows bad;
    while (true) {
      const absl::StatusOr<std::optional<galleon::InputPiece>> piece = rows.next();
      if (!piece.ok() || !piece->has_value()) break;
      if ((*piece)->text.size() > size) __builtin_trap();
      (void)galleon::for_each_json_line(**piece, file.path(), &bad,
                                        [](const nlohmann::ordered_json&, int64_t) { return absl::OkStatus(); });
    }
  }
  return 0;
}
