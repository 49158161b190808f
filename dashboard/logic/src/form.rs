//! A Deployment and its Service from the few things that are asked of someone who begins, and whose field an error of the
//! API server is about.

use serde_json::{Value, json};

/// What the form asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Name,
    Namespace,
    Image,
    Replicas,
    Port,
    Environment,
    Service,
}

impl Field {
    /// Names its input in the page.
    pub fn id(self) -> &'static str {
        match self {
            Self::Name => "form-name",
            Self::Namespace => "form-namespace",
            Self::Image => "form-image",
            Self::Replicas => "form-replicas",
            Self::Port => "form-port",
            Self::Environment => "form-environment",
            Self::Service => "form-service",
        }
    }
}

/// What was filled in; numbers as they were typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Form {
    pub name: String,
    pub namespace: String,
    pub image: String,
    pub replicas: String,
    /// The port that the container listens at; empty for none.
    pub port: String,
    pub environment: Vec<(String, String)>,
    /// `ClusterIP`, `NodePort`, `LoadBalancer`; empty for no Service.
    pub service: String,
}

/// A number if it is one: else the text itself, so that the server says what is wrong with it.
fn number(text: &str) -> Value {
    text.trim().parse::<i64>().map_or_else(|_| text.into(), Value::from)
}

impl Form {
    /// A Service needs a port to lead to.
    pub fn has_service(&self) -> bool {
        !self.service.is_empty() && !self.port.trim().is_empty()
    }

    /// The objects to be created, the Deployment first.
    pub fn objects(&self) -> Vec<Value> {
        let (name, namespace) = (self.name.trim(), self.namespace.trim());
        let labels = json!({"app.kubernetes.io/name": name});
        let metadata = json!({"name": name, "namespace": namespace, "labels": labels});
        let mut container = json!({"name": "main", "image": self.image.trim()});
        if !self.port.trim().is_empty() {
            container["ports"] = json!([{"name": "main", "containerPort": number(&self.port)}]);
        }
        let environment: Vec<_> = self
            .environment
            .iter()
            .filter(|(name, value)| !name.is_empty() || !value.is_empty())
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        if !environment.is_empty() {
            container["env"] = environment.into();
        }
        let mut objects =
            vec![json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {
            "replicas": number(&self.replicas), "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}})];
        if self.has_service() {
            objects.push(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {
                "type": self.service, "selector": labels,
                "ports": [{"name": "main", "port": number(&self.port), "targetPort": "main"}]}}));
        }
        objects
    }
}

/// Where in an object, and in what the API server says, a field of the form is. The longest is found first.
const PLACES: [(&str, Field); 12] = [
    ("metadata.namespace", Field::Namespace),
    ("metadata.name", Field::Name),
    ("metadata.labels", Field::Name),
    ("spec.selector", Field::Name),
    ("spec.template.labels", Field::Name),
    ("spec.template.metadata.labels", Field::Name),
    ("spec.replicas", Field::Replicas),
    ("spec.template.spec.containers[0].image", Field::Image),
    ("spec.template.spec.containers[0].ports", Field::Port),
    ("spec.template.spec.containers[0].env", Field::Environment),
    ("spec.ports", Field::Port),
    ("spec.type", Field::Service),
];

/// What the API server said, at the fields it is about; what is about none of them comes with none.
pub fn errors(message: &str) -> Vec<(Option<Field>, String)> {
    // `Deployment.apps "x" is invalid: [metadata.name: Invalid value: …, spec.replicas: …]`
    let said = message.split_once("is invalid: ").map_or(message, |(_, said)| said);
    let mut marks: Vec<(usize, Field)> = PLACES
        .iter()
        .flat_map(|(place, field)| said.match_indices(place).map(|(at, _)| (at, *field)))
        .filter(|(at, _)| begins(&said[..*at]))
        .collect();
    marks.sort_by_key(|(at, _)| *at);
    if marks.is_empty() {
        let namespace = message.starts_with("namespaces ") && message.contains("not found");
        return vec![(namespace.then_some(Field::Namespace), message.to_owned())];
    }
    let ends = marks.iter().skip(1).map(|(at, _)| *at).chain([said.len()]);
    let text = |from: usize, to: usize| said[from..to].trim_end_matches([',', ' ', ']']).to_owned();
    let mut all: Vec<_> =
        marks.iter().zip(ends).map(|((at, field), end)| (Some(*field), text(*at, end))).collect();
    let lead = said[..marks[0].0].trim_matches(['[', ',', ' ']);
    // an error about something else came first
    if message.len() != said.len() && !lead.is_empty() {
        all.insert(0, (None, lead.to_owned()));
    }
    all
}

/// A place is one where an error begins, or is named in quotes by a decoder.
fn begins(before: &str) -> bool {
    before.is_empty() || before.ends_with(['[', ' ', '"', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> Form {
        Form {
            name: "web".into(),
            namespace: "team".into(),
            image: "nginx:alpine".into(),
            replicas: "2".into(),
            port: "80".into(),
            environment: vec![("MODE".into(), "a b".into()), (String::new(), String::new())],
            service: "NodePort".into(),
        }
    }

    #[test]
    fn a_form_is_a_deployment_and_its_service() {
        let [deployment, service] = <[Value; 2]>::try_from(form().objects()).unwrap_or_default();
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(deployment["spec"]["replicas"], 2);
        assert_eq!(container["env"], json!([{"name": "MODE", "value": "a b"}]));
        assert_eq!(container["ports"][0]["containerPort"], 80);
        assert_eq!(service["spec"]["selector"], deployment["spec"]["template"]["metadata"]["labels"]);
        assert_eq!(
            (&service["spec"]["ports"][0]["port"], &service["spec"]["type"]),
            (&json!(80), &json!("NodePort"))
        );
        let bare =
            Form { port: String::new(), environment: Vec::new(), replicas: "x".into(), ..form() }.objects();
        assert_eq!((bare.len(), &bare[0]["spec"]["replicas"]), (1, &json!("x")));
    }

    #[test]
    fn errors_are_at_their_fields() {
        for (message, wanted) in [
            (
                "Deployment.apps \"A\" is invalid: metadata.name: Invalid value: \"A\": a lowercase name",
                vec![Some(Field::Name)],
            ),
            (
                "Deployment.apps \"\" is invalid: [metadata.name: Required value: name, spec.template.spec.containers[0].image: Required value]",
                vec![Some(Field::Name), Some(Field::Image)],
            ),
            (
                "Service \"a\" is invalid: [spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive]",
                vec![Some(Field::Port)],
            ),
            (
                "Deployment.apps \"a\" is invalid: [spec.strange: x, spec.replicas: Invalid value: -1]",
                vec![None, Some(Field::Replicas)],
            ),
            ("namespaces \"none\" not found", vec![Some(Field::Namespace)]),
            ("deployments.apps \"a\" already exists", vec![None]),
            ("", vec![None]),
        ] {
            let fields: Vec<_> = errors(message).into_iter().map(|(field, _)| field).collect();
            assert_eq!(fields, wanted, "{message}");
        }
    }
}
