//! The resources: a text, a picture, and a template.
//!
//! Takes a URI, gives its contents. Never lists the template's resources: there is one for each id.

use rmcp::ErrorData;
use rmcp::model::{
    CacheScope, ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
};
use serde_json::json;

use crate::server::TTL_MS;
use crate::tools::PICTURE;

const TEXT: &str = "test://static-text";
const BINARY: &str = "test://static-binary";

/// `resources/list`
pub fn list() -> ListResourcesResult {
    let text = Resource::new(TEXT, "static-text").with_description("A text").with_mime_type("text/plain");
    let binary = Resource::new(BINARY, "static-binary").with_description("A picture").with_mime_type("image/png");
    let mut result = ListResourcesResult::with_all_items(vec![text, binary]);
    result.ttl_ms = Some(TTL_MS);
    result.cache_scope = Some(CacheScope::Public);
    result
}

/// `resources/templates/list`
pub fn templates() -> ListResourceTemplatesResult {
    let template = ResourceTemplate::new("test://template/{id}/data", "template").with_description("One for each id");
    let mut result = ListResourceTemplatesResult::with_all_items(vec![template.with_mime_type("application/json")]);
    result.ttl_ms = Some(TTL_MS);
    result.cache_scope = Some(CacheScope::Public);
    result
}

/// `resources/read`
pub fn read(uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let contents = match uri {
        TEXT => ResourceContents::text("This is the content of the static text resource.", uri).with_mime_type("text/plain"),
        BINARY => ResourceContents::blob(PICTURE, uri).with_mime_type("image/png"),
        _ => {
            let id = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
            let id = id.ok_or_else(|| ErrorData::resource_not_found("resource not found", Some(json!({"uri": uri}))))?;
            let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            ResourceContents::text(data.to_string(), uri).with_mime_type("application/json")
        }
    };
    Ok(ReadResourceResult::new(vec![contents]).with_ttl_ms(TTL_MS).with_cache_scope(CacheScope::Public))
}
