//! One line of an `index.jsonl`, and the files it names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) provider: String,
    pub(crate) endpoint: String,
    pub(crate) method: String,
    url: Option<String>,
    pub(crate) status: u16,
    pub(crate) streaming: bool,
    pub(crate) content_type: Option<String>,
    pub(crate) content_encoding: String,
    pub(crate) ambiguous: bool,
    pub(crate) expected: Value,
    request_body: Option<PathBuf>,
    response_body: Option<PathBuf>,
    headers: Option<PathBuf>,
    /// Bodies in the place of those in the files.
    altered: [Option<Vec<u8>>; 2],
}

impl Row {
    pub(crate) fn load(folder: &Path) -> Vec<Self> {
        let index = fs::read_to_string(folder.join("index.jsonl")).unwrap();
        index.lines().map(|line| Self::parse(folder, &serde_json::from_str(line).unwrap())).collect()
    }

    fn parse(folder: &Path, line: &Value) -> Self {
        let text = |key: &str| line[key].as_str().map(str::to_owned);
        let file = |key: &str| line[key].as_str().map(|path| folder.join(path));
        Self {
            id: text("id").unwrap(),
            provider: text("provider").unwrap(),
            endpoint: text("endpoint").unwrap(),
            method: text("method").unwrap(),
            url: text("url"),
            status: line["status"].as_u64().unwrap().try_into().unwrap(),
            streaming: line["streaming"].as_bool().unwrap(),
            content_type: text("content_type"),
            content_encoding: text("content_encoding").unwrap(),
            ambiguous: line["ambiguous"].as_array().is_some_and(|why| !why.is_empty()),
            expected: line["expected"].clone(),
            request_body: file("request_body_path"),
            response_body: file("response_body_path"),
            headers: file("headers_path"),
            altered: [None, None],
        }
    }

    /// The same with other bodies.
    pub(crate) fn altered(&self, request: Option<Vec<u8>>, response: Vec<u8>) -> Self {
        Self { altered: [request, Some(response)], ..self.clone() }
    }

    pub(crate) fn has_url(&self) -> bool {
        self.url.is_some()
    }

    pub(crate) fn has_request_body(&self) -> bool {
        self.request_body.is_some()
    }

    /// `Host` and target. Many rows have no URL, because their source did not record it: those get
    /// the host and path that the provider's catalog row stands for.
    pub(crate) fn host_and_target(&self) -> (String, String) {
        if let Some(url) = &self.url {
            let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            // Sources replaced some hosts by placeholders such as `<OLLAMA_API_BASE>`.
            let host =
                if host.is_empty() || host.contains('<') && !host.contains('.') { "localhost" } else { host };
            return (host.to_lowercase(), if target.is_empty() { "/" } else { target }.to_owned());
        }
        let host = match self.provider.as_str() {
            "alibaba" => "dashscope.aliyuncs.com",
            "anthropic" => "api.anthropic.com",
            "azure-openai" => "resource.openai.azure.com",
            "bedrock" => "bedrock-runtime.us-east-1.amazonaws.com",
            "cohere" => "api.cohere.com",
            "replicate" => "api.replicate.com",
            "deepseek" => "api.deepseek.com",
            "gemini" => "generativelanguage.googleapis.com",
            "groq" => "api.groq.com",
            "mistral" => "api.mistral.ai",
            "moonshot" => "api.moonshot.ai",
            "ollama" => "localhost:11434",
            "openai" => "api.openai.com",
            "openrouter" => "openrouter.ai",
            "perplexity" => "api.perplexity.ai",
            "together" => "api.together.xyz",
            "voyage" => "api.voyageai.com",
            "xai" => "api.x.ai",
            "zai" => "api.z.ai",
            _ => "localhost:8080",
        };
        let target = match self.endpoint.as_str() {
            "openai.chat" => "/v1/chat/completions",
            "openai.responses" => "/v1/responses",
            "openai.completions" => "/v1/completions",
            "openai.embeddings" => "/v1/embeddings",
            "anthropic.messages" => "/v1/messages",
            "anthropic.complete" => "/v1/complete",
            "gemini.generateContent" => "/v1beta/models/m:generateContent",
            "gemini.streamGenerateContent" => "/v1beta/models/m:streamGenerateContent",
            "gemini.embedContent" => "/v1beta/models/m:embedContent",
            "gemini.interactions" => "/v1beta/interactions",
            "bedrock.converse" => "/model/m/converse",
            "bedrock.converse_stream" => "/model/m/converse-stream",
            "bedrock.invoke" => "/model/m/invoke",
            "bedrock.invoke_stream" => "/model/m/invoke-with-response-stream",
            "cohere.v1.chat" => "/v1/chat",
            "cohere.v2.chat" => "/v2/chat",
            "cohere.generate" => "/v1/generate",
            "cohere.embed" => "/v2/embed",
            "rerank" => "/v2/rerank",
            "ollama.chat" => "/api/chat",
            "ollama.generate" => "/api/generate",
            "ollama.embed" => "/api/embed",
            "openai.images" => "/v1/images/generations",
            "openai.audio.transcriptions" => "/v1/audio/transcriptions",
            "openai.audio.translations" => "/v1/audio/translations",
            "openai.audio.speech" => "/v1/audio/speech",
            "openai.moderations" => "/v1/moderations",
            "replicate.predictions" => "/v1/predictions",
            "tgi.generate" => "/generate",
            _ => "/elsewhere",
        };
        (host.into(), target.into())
    }

    /// The response's headers that are not about its framing.
    pub(crate) fn response_headers(&self) -> Vec<(String, String)> {
        let Some(path) = &self.headers else { return Vec::new() };
        let headers: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let pairs = headers["response"].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let kept = |(name, _): &(String, String)| {
            let name = name.to_ascii_lowercase();
            !matches!(
                &*name,
                "content-length" | "transfer-encoding" | "connection" | "content-encoding" | "content-type"
            )
        };
        pairs.iter().filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?))).filter(kept).collect()
    }

    pub(crate) fn request_body(&self) -> Vec<u8> {
        body(&self.altered[0], &self.request_body)
    }

    /// As stored: still in its content coding.
    pub(crate) fn response_body(&self) -> Vec<u8> {
        body(&self.altered[1], &self.response_body)
    }

    /// Sizes of the recording client's reads.
    pub(crate) fn read_chunks(&self) -> Option<Vec<usize>> {
        let headers: Value = serde_json::from_slice(&fs::read(self.headers.as_ref()?).unwrap()).unwrap();
        let sizes = headers["read_chunks"].as_array()?;
        Some(sizes.iter().map(|size| size.as_u64().unwrap() as usize).filter(|&size| size > 0).collect())
    }
}

fn body(altered: &Option<Vec<u8>>, file: &Option<PathBuf>) -> Vec<u8> {
    let stored = || file.as_ref().map(|path| fs::read(path).unwrap()).unwrap_or_default();
    altered.clone().unwrap_or_else(stored)
}
