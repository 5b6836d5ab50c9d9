// config.json of each family: what is read, what is refused by name, and what is written back.
#include "worker/engine/model/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace galleon {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

absl::StatusOr<ModelConfig> parse(const std::string& json,
                                  const std::vector<std::pair<std::string, std::string>>& overrides = {}) {
  return model_config_from_json(json, "m/config.json", overrides);
}

struct Published {
  const char* name;
  const char* json;
  int64_t parameters;  // as transformers counts them
};

// The fields that matter of published models.
const Published kPublished[] = {
    {"Llama-3.2-1B",
     R"({"architectures":["LlamaForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"bos_token_id":128000,
     "eos_token_id":128001,"head_dim":64,"hidden_act":"silu","hidden_size":2048,"initializer_range":0.02,
     "intermediate_size":8192,"max_position_embeddings":131072,"mlp_bias":false,"model_type":"llama",
     "num_attention_heads":32,"num_hidden_layers":16,"num_key_value_heads":8,"pretraining_tp":1,"rms_norm_eps":1e-05,
     "rope_scaling":{"factor":32.0,"high_freq_factor":4.0,"low_freq_factor":1.0,
     "original_max_position_embeddings":8192,"rope_type":"llama3"},"rope_theta":500000.0,"tie_word_embeddings":true,
     "torch_dtype":"bfloat16","transformers_version":"4.45.0.dev0","use_cache":true,"vocab_size":128256})",
     1235814400},
    {"TinyLlama-1.1B",
     R"({"architectures":["LlamaForCausalLM"],"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":2048,
     "intermediate_size":5632,"max_position_embeddings":2048,"model_type":"llama","num_attention_heads":32,
     "num_hidden_layers":22,"num_key_value_heads":4,"pretraining_tp":1,"rms_norm_eps":1e-05,"rope_scaling":null,
     "tie_word_embeddings":false,"vocab_size":32000})",
     1100048384},
    {"SmolLM-135M",
     R"({"architectures":["LlamaForCausalLM"],"hidden_act":"silu","hidden_size":576,"intermediate_size":1536,
     "max_position_embeddings":2048,"model_type":"llama","num_attention_heads":9,"num_hidden_layers":30,
     "num_key_value_heads":3,"rms_norm_eps":1e-05,"rope_scaling":null,"rope_theta":10000.0,"tie_word_embeddings":true,
     "vocab_size":49152})",
     134515008},
    {"Mistral-7B-v0.1",
     R"({"architectures":["MistralForCausalLM"],"hidden_act":"silu","hidden_size":4096,"intermediate_size":14336,
     "max_position_embeddings":32768,"model_type":"mistral","num_attention_heads":32,"num_hidden_layers":32,
     "num_key_value_heads":8,"rms_norm_eps":1e-05,"rope_theta":10000.0,"sliding_window":4096,
     "tie_word_embeddings":false,"vocab_size":32000})",
     7241732096},
    {"Qwen2.5-0.5B",
     R"({"architectures":["Qwen2ForCausalLM"],"attention_dropout":0.0,"bos_token_id":151643,"eos_token_id":151643,
     "hidden_act":"silu","hidden_size":896,"intermediate_size":4864,"max_position_embeddings":32768,
     "max_window_layers":24,"model_type":"qwen2","num_attention_heads":14,"num_hidden_layers":24,
     "num_key_value_heads":2,"rms_norm_eps":1e-06,"rope_theta":1000000.0,"sliding_window":32768,
     "tie_word_embeddings":true,"use_mrope":false,"use_sliding_window":false,"vocab_size":151936})",
     494032768},
    {"Qwen3-0.6B",
     R"({"architectures":["Qwen3ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,"head_dim":128,
     "hidden_act":"silu","hidden_size":1024,"intermediate_size":3072,"max_position_embeddings":40960,
     "max_window_layers":28,"model_type":"qwen3","num_attention_heads":16,"num_hidden_layers":28,
     "num_key_value_heads":8,"rms_norm_eps":1e-06,"rope_scaling":null,"rope_theta":1000000,"sliding_window":null,
     "tie_word_embeddings":true,"use_sliding_window":false,"vocab_size":151936})",
     596049920},
    {"bert-base-uncased",
     R"({"architectures":["BertForMaskedLM"],"attention_probs_dropout_prob":0.1,"gradient_checkpointing":false,
     "hidden_act":"gelu","hidden_dropout_prob":0.1,"hidden_size":768,"intermediate_size":3072,"layer_norm_eps":1e-12,
     "max_position_embeddings":512,"model_type":"bert","num_attention_heads":12,"num_hidden_layers":12,
     "pad_token_id":0,"position_embedding_type":"absolute","type_vocab_size":2,"vocab_size":30522})",
     109483778},
    {"roberta-base",
     R"({"architectures":["RobertaForMaskedLM"],"bos_token_id":0,"eos_token_id":2,"hidden_act":"gelu",
     "hidden_size":768,"intermediate_size":3072,"layer_norm_eps":1e-05,"max_position_embeddings":514,
     "model_type":"roberta","num_attention_heads":12,"num_hidden_layers":12,"pad_token_id":1,"type_vocab_size":1,
     "vocab_size":50265})",
     124647170},
};

TEST(ModelConfig, PublishedModelsAreReadAndHaveTheParametersThatTransformersCounts) {
  for (const Published& model : kPublished) {
    absl::StatusOr<ModelConfig> config = parse(model.json);
    ASSERT_TRUE(config.ok()) << model.name << ": " << config.status();
    EXPECT_EQ(config->parameters(), model.parameters) << model.name;
  }
  const ModelConfig roberta = *parse(kPublished[7].json);
  EXPECT_EQ(roberta.longest_sequence(), 512);
  EXPECT_EQ(roberta.first_position(), 2);
  const ModelConfig mistral = *parse(kPublished[3].json);
  EXPECT_EQ(mistral.window_of(31), 4096);
  EXPECT_EQ(parse(kPublished[4].json)->window_of(23), 0) << "a window that is not used";
}

TEST(ModelConfig, WhatIsWrittenIsReadAsTheSameModel) {
  for (const Published& model : kPublished) {
    const ModelConfig config = *parse(model.json);
    absl::StatusOr<ModelConfig> again = parse(model_config_to_json(config, "float32"));
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, config) << model.name;
  }
  const std::string yarn =
      R"({"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":32768,"mscale":0.7,"mscale_all_dim":1.0,
      "beta_fast":16,"truncate":false})";
  const ModelConfig scaled =
      *parse(kPublished[4].json, {{"rope_scaling", yarn}, {"use_sliding_window", "true"}, {"max_window_layers", "20"}});
  EXPECT_EQ(scaled.window_of(19), 0);
  EXPECT_EQ(scaled.window_of(20), 32768);
  EXPECT_EQ(scaled.longest_sequence(), 131072);
  EXPECT_EQ(*parse(model_config_to_json(scaled, "float32")), scaled);
  const ModelConfig labelled = *parse(kPublished[6].json, {{"id2label", R"({"0":"no","1":"maybe","2":"yes"})"},
                                                           {"hidden_act", "\"gelu_new\""},
                                                           {"classifier_dropout", "0.3"}});
  EXPECT_EQ(labelled.labels, 3);
  EXPECT_EQ(labelled.label_names, std::vector<std::string>({"no", "maybe", "yes"}));
  EXPECT_EQ(*parse(model_config_to_json(labelled, "float32")), labelled);
  EXPECT_TRUE(parse(kPublished[6].json, {{"num_labels", "1"}})->regression());
}

TEST(ModelConfig, NewAndOldWaysToScalePositionsAreTheSame) {
  const std::string common =
      R"({"model_type":"llama","vocab_size":10,"hidden_size":8,"intermediate_size":8,"num_hidden_layers":1,
      "num_attention_heads":1,)";
  const ModelConfig old_way = *parse(common + R"("rope_theta":777.0,"rope_scaling":{"type":"linear","factor":2}})");
  const ModelConfig new_way =
      *parse(common + R"("rope_parameters":{"rope_theta":777.0,"rope_type":"linear","factor":2.0}})");
  EXPECT_EQ(old_way, new_way);
  EXPECT_EQ(parse(common + R"("rope_parameters":{"rope_theta":777.0,"rope_type":"default"}})", {{"rope_theta", "5"}})
                ->rope_theta,
            5.0);
}

TEST(ModelConfig, OfTwoWaysThatDisagreeRopeScalingCountsAsInTransformers) {
  const std::string common =
      R"({"model_type":"llama","vocab_size":10,"hidden_size":8,"intermediate_size":8,"num_hidden_layers":1,
      "num_attention_heads":1,"rope_parameters":{"rope_theta":777.0,"rope_type":"linear","factor":4.0},"rope_scaling":)";
  const ModelConfig both = *parse(common + R"({"rope_type":"linear","factor":2.0}})");
  EXPECT_EQ(both.rope.factor, 2.0);
  EXPECT_EQ(both.rope_theta, 10000.0);
  const ModelConfig empty = *parse(common + "{}}");
  EXPECT_EQ(empty.rope.factor, 4.0);
  EXPECT_EQ(empty.rope_theta, 777.0);
}

TEST(ModelConfig, FieldsThatStayTrueAreWrittenAgain) {
  const ModelConfig config = *parse(
      R"({"model_type":"qwen2","vocab_size":10,"hidden_size":8,"intermediate_size":8,"num_hidden_layers":1,
      "num_attention_heads":1,"use_sliding_window":true,"sliding_window":16,"max_window_layers":1,"use_cache":true,
      "eos_token_id":[3,4],"transformers_version":"4.0","dtype":"bfloat16","_name_or_path":"x"})");
  const std::string written = model_config_to_json(config, "float32");
  EXPECT_THAT(written, testing::HasSubstr("\"max_window_layers\": 1"));
  EXPECT_THAT(written, testing::HasSubstr("\"use_cache\": true"));
  EXPECT_THAT(written, testing::ContainsRegex("\"eos_token_id\": .[[:space:]]*3,[[:space:]]*4"));
  for (const char* gone : {"transformers_version", "\"dtype\"", "_name_or_path"})
    EXPECT_THAT(written, testing::Not(testing::HasSubstr(gone)));
  EXPECT_EQ(model_config_to_json(*parse(written), "float32"), written);
}

TEST(ModelConfig, WhatIsNotComputedIsRefusedByName) {
  const struct {
    int model;
    const char* field;
    const char* value;
    const char* message;
  } cases[] = {
      {0, "model_type", "\"mamba\"",
       "model_type \"mamba\" is not available in this version; available: llama, mistral"},
      {0, "architectures", "[\"LlamaForSequenceClassification\"]", "available: LlamaForCausalLM"},
      {6, "architectures", "[\"GPT2Model\"]", "available: BertForSequenceClassification"},
      {0, "hidden_act", "\"gelu\"", "hidden_act \"gelu\" is not available for llama; available: silu"},
      {6, "hidden_act", "\"relu\"", "hidden_act \"relu\" is not available for bert; one of gelu"},
      {0, "rope_scaling", R"({"rope_type":"longrope","factor":2})", "rope_scaling.rope_type \"longrope\""},
      {0, "rope_scaling", R"({"rope_type":"linear"})", "rope_scaling factor is missing"},
      {0, "rope_scaling", R"({"rope_type":"linear","factor":0.5})", "factor must be at least 1"},
      {0, "rope_scaling", "3", "rope_scaling must be an object"},
      {0, "partial_rotary_factor", "0.5", "partial_rotary_factor"},
      {0, "attention_dropout", "0.1", "attention_dropout 0.1 is not available"},
      {0, "sliding_window", "4096", "sliding_window 4096 is not available"},
      {0, "quantization_config", R"({"bits":4})", "quantization_config {\"bits\":4} is not available"},
      {3, "attention_bias", "true", "attention_bias true is not available"},
      {4, "mlp_bias", "true", "mlp_bias true is not available"},
      {4, "layer_types", R"(["full_attention"])", "layer_types must be a list with a word for each layer"},
      {6, "position_embedding_type", "\"relative_key\"", "position_embedding_type \"relative_key\""},
      {6, "is_decoder", "true", "is_decoder true"},
      {6, "problem_type", "\"multi_label_classification\"",
       "problem_type \"multi_label_classification\" with 2 labels"},
      {6, "num_labels", "1333333", "num_labels must be at most 100000"},
      {6, "hidden_dropout_prob", "1.0", "hidden_dropout_prob must be a number from 0 to below 1"},
      {6, "hidden_size", "770", "hidden_size 770 is not a multiple of num_attention_heads 12"},
      {7, "max_position_embeddings", "2", "max_position_embeddings 2 leaves no position after pad_token_id 1"},
      {0, "num_attention_heads", "null", "num_attention_heads is missing"},
      {6, "num_attention_heads", "null", "num_attention_heads is missing"},
      {0, "num_hidden_layers", "-1", "num_hidden_layers must be an integer of at least 1"},
      {0, "num_hidden_layers", "1e30", "num_hidden_layers must be an integer"},
      {0, "num_hidden_layers", "18446744073709551615", "num_hidden_layers must be at most 10000"},
      {0, "hidden_size", "262145", "hidden_size must be at most 262144"},
      {0, "vocab_size", "16777217", "vocab_size must be at most 16777216"},
      {0, "head_dim", "7", "head_dim 7 is odd"},
      {0, "head_dim", "512", "head_dim must be at most 256"},
      {0, "num_key_value_heads", "5", "num_key_value_heads 5 does not divide num_attention_heads 32"},
      {0, "rms_norm_eps", "\"small\"", "rms_norm_eps must be a number above 0"},
  };
  for (const auto& c : cases) {
    std::string json = kPublished[c.model].json;
    // The last of two fields of one name counts.
    json.replace(json.rfind('}'), 1, absl::StrCat(",\"", c.field, "\":", c.value, "}"));
    absl::StatusOr<ModelConfig> config = parse(json);
    ASSERT_FALSE(config.ok()) << c.field << " " << c.value;
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(config.status().message()), StartsWith("m/config.json: "));
    EXPECT_THAT(std::string(config.status().message()), HasSubstr(c.message));
  }
}

TEST(ModelConfig, AFieldThatIsMissingAndAnOverrideThatIsUnknownAreNamed) {
  EXPECT_THAT(std::string(parse(R"({"model_type":"bert","hidden_size":8})").status().message()),
              HasSubstr("is missing"));
  EXPECT_THAT(std::string(parse("[1]").status().message()), HasSubstr("is not a JSON object"));
  EXPECT_THAT(std::string(parse(kPublished[0].json, {{"hidden", "3"}}).status().message()),
              HasSubstr("model.overrides.hidden is not accepted; one of vocab_size"));
}

}  // namespace
}  // namespace galleon
