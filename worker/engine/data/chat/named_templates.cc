#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/engine/data/chat/chat_template.h"

namespace galleon {
namespace {

// Each writes its family's format; which models speak it stands beside it. Marked as generated is what a model writes
// itself, its end of turn included.

// SmolLM, Qwen without its system message, and many others.
constexpr char kChatMl[] = R"({%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.role == 'assistant' %}{% generation %}{{ message.content }}<|im_end|>{% endgeneration %}{% else %}{{ message.content }}<|im_end|>{% endif %}

{% endfor %}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%})";

// Qwen2 and Qwen2.5.
constexpr char kQwen2[] = R"({%- if messages and messages[0].role != 'system' -%}
<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif -%}
)";

// Llama 3 and 3.1, without tools.
constexpr char kLlama3[] = R"({{- bos_token -}}
{%- for message in messages -%}
<|start_header_id|>{{ message.role }}<|end_header_id|>{{ '\n\n' }}
{%- if message.role == 'assistant' -%}
{% generation %}{{ message.content | trim }}<|eot_id|>{% endgeneration %}
{%- else -%}
{{ message.content | trim }}<|eot_id|>
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|start_header_id|>assistant<|end_header_id|>{{ '\n\n' }}
{%- endif -%})";

// Llama 2, and Mistral but for its system message and spaces.
constexpr char kLlama2[] = R"({%- set system = namespace(text='') -%}
{%- if messages and messages[0].role == 'system' -%}
  {%- set system.text = '<<SYS>>\n' ~ messages[0].content ~ '\n<</SYS>>\n\n' -%}
  {%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
  {%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
    {{- raise_exception('user and assistant must take turns, the user first') -}}
  {%- endif -%}
  {%- if message.role == 'user' -%}
    {{- bos_token ~ '[INST] ' ~ ((system.text if loop.first else '') ~ message.content) | trim ~ ' [/INST]' -}}
  {%- else -%}
    {% generation %}{{- ' ' ~ message.content | trim ~ ' ' ~ eos_token -}}{% endgeneration %}
  {%- endif -%}
{%- endfor -%})";

// Mistral 7B Instruct v0.3.
constexpr char kMistral[] = R"({{- bos_token -}}
{%- set system = namespace(text='') -%}
{%- if messages and messages[0].role == 'system' -%}
  {%- set system.text = messages[0].content ~ '\n\n' -%}
  {%- set messages = messages[1:] -%}
{%- endif -%}
{%- for message in messages -%}
  {%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
    {{- raise_exception('user and assistant must take turns, the user first') -}}
  {%- endif -%}
  {%- if message.role == 'user' -%}
    {{- '[INST] ' ~ (system.text if loop.first else '') ~ message.content ~ '[/INST]' -}}
  {%- else -%}
    {% generation %}{{- ' ' ~ message.content | trim ~ eos_token -}}{% endgeneration %}
  {%- endif -%}
{%- endfor -%})";

// TinyLlama and Zephyr.
constexpr char kZephyr[] = R"({%- for message in messages -%}
<|{{ message.role }}|>
{% if message.role == 'assistant' %}{% generation %}{{ message.content ~ eos_token }}{% endgeneration %}{% else %}{{ message.content ~ eos_token }}{% endif %}

{% endfor %}
{%- if add_generation_prompt -%}
<|assistant|>
{% endif -%})";

// For models without any format of their own: questions and answers as plain text.
constexpr char kPlain[] = R"({%- for message in messages -%}
{%- if message.role == 'system' -%}
{{ message.content ~ '\n\n' }}
{%- elif message.role == 'assistant' -%}
{% generation %}{{ ' ' ~ message.content ~ eos_token }}{% endgeneration %}
{%- else -%}
{{ 'Question: ' ~ message.content ~ '\nAnswer:' }}
{%- endif -%}
{%- endfor -%})";

}  // namespace

absl::StatusOr<std::string> named_chat_template(absl::string_view name) {
  const std::pair<absl::string_view, std::string> known[] = {
      {"chatml", kChatMl},   {"qwen2", absl::StrCat(kQwen2, kChatMl)},
      {"llama2", kLlama2},   {"llama3", kLlama3},
      {"mistral", kMistral}, {"zephyr", kZephyr},
      {"plain", kPlain},
  };
  std::string names;
  for (const auto& [known_name, text] : known) {
    if (known_name == name) return text;
    absl::StrAppend(&names, names.empty() ? "" : ", ", known_name);
  }
  return absl::NotFoundError(absl::StrCat("there is no chat template ", name, "; there are ", names));
}

}  // namespace galleon
