//! Which path is what: the data plane's routes.

use std::borrow::Cow;

use http::Method;

use crate::problem::Problem;

/// Whose conventions a path follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    /// `/v1`: OpenAI's.
    OpenAi,
    /// `/api/v1`: OpenRouter's.
    OpenRouter,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `POST …/chat/completions`
    ChatCompletions,
    /// `POST …/quote`
    Quote,
    /// `GET …/models`
    Models,
    /// `GET …/models/{id}`, with raw or encoded slashes.
    Model(Cow<'a, str>),
    /// `GET /api/v1/key`
    Key,
    /// `GET /api/v1/credits`
    Credits,
    /// `GET /api/v1/generation?id=`
    Generation(Option<Cow<'a, str>>),
    /// `GET /health`, `/v1/health`
    Health,
    /// `GET /health/database`
    DatabaseHealth,
}

/// Finds the route of a request; an error still knows the surface, so that it can be told in its form.
pub fn find<'a>(
    method: &Method,
    path: &'a str,
    query: Option<&'a str>,
) -> (Surface, Result<Route<'a>, Problem>) {
    if let Some(rest) = path.strip_prefix("/api/v1/") {
        return (
            Surface::OpenRouter,
            within(Surface::OpenRouter, method, rest, query),
        );
    }
    let route = match path.strip_prefix("/v1/") {
        Some(rest) => within(Surface::OpenAi, method, rest, query),
        None => match path {
            "/health" => get(method, Route::Health),
            "/health/database" => get(method, Route::DatabaseHealth),
            _ => Err(Problem::UnknownPath),
        },
    };
    (Surface::OpenAi, route)
}

fn within<'a>(
    surface: Surface,
    method: &Method,
    rest: &'a str,
    query: Option<&'a str>,
) -> Result<Route<'a>, Problem> {
    match (surface, rest) {
        (_, "chat/completions") if *method == Method::POST => Ok(Route::ChatCompletions),
        (_, "chat/completions") => Err(Problem::WrongMethod("POST")),
        (_, "quote") if *method == Method::POST => Ok(Route::Quote),
        (_, "quote") => Err(Problem::WrongMethod("POST")),
        (_, "models") => get(method, Route::Models),
        (Surface::OpenAi, "health") => get(method, Route::Health),
        (Surface::OpenRouter, "key") => get(method, Route::Key),
        (Surface::OpenRouter, "credits") => get(method, Route::Credits),
        (Surface::OpenRouter, "generation") => get(method, Route::Generation(id_of(query))),
        _ => match rest.strip_prefix("models/") {
            Some(id) if !id.is_empty() => get(method, Route::Model(decoded(id))),
            Some(_) | None => Err(Problem::UnknownPath),
        },
    }
}

fn get<'a>(method: &Method, route: Route<'a>) -> Result<Route<'a>, Problem> {
    if *method == Method::GET || *method == Method::HEAD {
        Ok(route)
    } else {
        Err(Problem::WrongMethod("GET"))
    }
}

fn id_of(query: Option<&str>) -> Option<Cow<'_, str>> {
    query?
        .split('&')
        .find_map(|pair| pair.strip_prefix("id="))
        .map(decoded)
}

/// Percent-decodes; what is not valid stays as it is and will not be found.
fn decoded(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .unwrap_or(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> (Surface, Route<'_>) {
        let (surface, route) = find(&Method::GET, path, Some("a=b&id=gen%2D1"));
        (surface, route.unwrap())
    }

    #[test]
    fn model_ids_come_with_raw_and_with_encoded_slashes() {
        let model = |id: &'static str| Route::Model(Cow::Borrowed(id));
        assert_eq!(
            route("/v1/models/openai/gpt-4o"),
            (Surface::OpenAi, model("openai/gpt-4o"))
        );
        assert_eq!(
            route("/v1/models/openai%2Fgpt-4o"),
            (Surface::OpenAi, model("openai/gpt-4o"))
        );
        assert_eq!(
            route("/api/v1/models/a/b:free"),
            (Surface::OpenRouter, model("a/b:free"))
        );
    }

    #[test]
    fn each_surface_has_its_own_routes() {
        assert_eq!(route("/v1/health").1, Route::Health);
        assert_eq!(route("/api/v1/key").1, Route::Key);
        assert_eq!(
            route("/api/v1/generation").1,
            Route::Generation(Some("gen-1".into()))
        );
        for path in [
            "/v1/key",
            "/v1/embeddings",
            "/api/v1/health",
            "/v1/models/",
            "/",
            "/metrics",
        ] {
            assert!(
                matches!(find(&Method::GET, path, None).1, Err(Problem::UnknownPath)),
                "{path}"
            );
        }
    }

    #[test]
    fn a_wrong_method_is_told_the_right_one() {
        let wrong =
            |method, path| matches!(find(&method, path, None).1, Err(Problem::WrongMethod(_)));
        assert!(wrong(Method::GET, "/v1/chat/completions"));
        assert!(wrong(Method::GET, "/v1/quote"));
        assert!(wrong(Method::POST, "/v1/models"));
    }
}
