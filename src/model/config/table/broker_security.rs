//! Broker keys about logins, TLS and tokens. Types, defaults and valid values are those of Kafka 4.4; what
//! differs here says so. Rows are sorted. Must not touch: parsing, resolution.

use crate::config::key::Importance::{High, Low, Medium};
use crate::config::key::Rule::{Any, AtLeast, Between, OneOf, OneOfIgnoringCase};
use crate::config::key::ValueType::{Boolean, Class, Double, Int, List, Long, Password, Short, String};
use crate::config::key::{Key, key};

#[rustfmt::skip]
pub(super) static KEYS: &[Key] = &[
    key("authorizer.class.name", String, Some(""), Any, Low).unused()
        .doc("Java class that decides who may do what; empty allows everything."),
    key("delegation.token.expiry.check.interval.ms", Long, Some("3600000"), AtLeast(1), Low).unused()
        .doc("How often expired delegation tokens are looked for."),
    key("delegation.token.expiry.time.ms", Long, Some("86400000"), AtLeast(1), Medium).unused()
        .doc("How long a delegation token is good before it must be renewed."),
    key("delegation.token.max.lifetime.ms", Long, Some("604800000"), AtLeast(1), Medium).unused()
        .doc("Age past which a delegation token cannot be renewed."),
    key("delegation.token.secret.key", Password, None, Any, Medium).unused()
        .doc("Secret that delegation tokens are signed with."),
    key("principal.builder.class", Class,
        Some("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"),
        Any, Medium).dynamic().unused()
        .doc("Java class that makes a principal out of a connection's identity."),
    key("sasl.client.callback.handler.class", Class, None, Any, Medium).unused()
        .doc("Java class that supplies credentials for the broker's own logins."),
    key("sasl.enabled.mechanisms", List, Some("GSSAPI"), Any, Medium).dynamic().unused()
        .doc("Login mechanisms that clients may use."),
    key("sasl.jaas.config", Password, None, Any, Medium).dynamic().unused()
        .doc("Login module and its options in Java's JAAS form."),
    key("sasl.kerberos.kinit.cmd", String, Some("/usr/bin/kinit"), Any, Medium).dynamic().unused()
        .doc("Path of the kinit program."),
    key("sasl.kerberos.min.time.before.relogin", Long, Some("60000"), Any, Medium).dynamic().unused()
        .doc("Shortest pause between two refreshes of a Kerberos login."),
    key("sasl.kerberos.principal.to.local.rules", List, Some("DEFAULT"), Any, Medium).dynamic().unused()
        .doc("Rules that shorten a Kerberos principal to a user name."),
    key("sasl.kerberos.service.name", String, None, Any, Medium).dynamic().unused()
        .doc("Kerberos service name of the brokers."),
    key("sasl.kerberos.ticket.renew.jitter", Double, Some("0.05"), Any, Medium).dynamic().unused()
        .doc("Random share added to the time of a ticket's renewal."),
    key("sasl.kerberos.ticket.renew.window.factor", Double, Some("0.8"), Any, Medium).dynamic().unused()
        .doc("Share of a ticket's life after which it is renewed."),
    key("sasl.login.callback.handler.class", Class, None, Any, Medium).unused()
        .doc("Java class that answers the questions of a login module."),
    key("sasl.login.class", Class, None, Any, Medium).unused()
        .doc("Java class that performs the broker's logins."),
    key("sasl.login.connect.timeout.ms", Int, None, Any, Low).unused()
        .doc("Longest wait for a connection to the identity provider."),
    key("sasl.login.read.timeout.ms", Int, None, Any, Low).unused()
        .doc("Longest wait for an answer of the identity provider."),
    key("sasl.login.refresh.buffer.seconds", Short, Some("300"), Any, Medium).dynamic().unused()
        .doc("Time before a credential's end by which it should have been refreshed."),
    key("sasl.login.refresh.min.period.seconds", Short, Some("60"), Any, Medium).dynamic().unused()
        .doc("Shortest time that a credential is used before it is refreshed."),
    key("sasl.login.refresh.window.factor", Double, Some("0.8"), Any, Medium).dynamic().unused()
        .doc("Share of a credential's life after which it is refreshed."),
    key("sasl.login.refresh.window.jitter", Double, Some("0.05"), Any, Medium).dynamic().unused()
        .doc("Random share added to the moment of a credential's refresh."),
    key("sasl.login.retry.backoff.max.ms", Long, Some("10000"), Any, Low).unused()
        .doc("Longest pause between attempts to reach the identity provider."),
    key("sasl.login.retry.backoff.ms", Long, Some("100"), Any, Low).unused()
        .doc("First pause between attempts to reach the identity provider."),
    key("sasl.mechanism.controller.protocol", String, Some("GSSAPI"), Any, High).unused()
        .doc("Login mechanism between brokers and controllers."),
    key("sasl.mechanism.inter.broker.protocol", String, Some("GSSAPI"), Any, Medium).dynamic().unused()
        .doc("Login mechanism between brokers."),
    key("sasl.oauthbearer.allow.unverified.audience", Boolean, Some("false"), Any, Medium).unused()
        .doc("Whether tokens are taken without a check of whom they were made for."),
    key("sasl.oauthbearer.allow.unverified.issuer", Boolean, Some("false"), Any, Medium).unused()
        .doc("Whether tokens are taken without a check of who made them."),
    key("sasl.oauthbearer.assertion.algorithm", String, Some("RS256"),
        OneOfIgnoringCase(&["ES256", "RS256"]), Medium).unused()
        .doc("Signature algorithm of assertions sent to the identity provider."),
    key("sasl.oauthbearer.assertion.claim.aud", String, None, Any, Medium).unused()
        .doc("Audience claim of assertions sent to the identity provider."),
    key("sasl.oauthbearer.assertion.claim.exp.seconds", Int, Some("300"), Between(0, 86400), Low).unused()
        .doc("Life of an assertion in seconds."),
    key("sasl.oauthbearer.assertion.claim.iss", String, None, Any, Medium).unused()
        .doc("Issuer claim of assertions sent to the identity provider."),
    key("sasl.oauthbearer.assertion.claim.jti.include", Boolean, Some("false"), Any, Medium).unused()
        .doc("Whether assertions carry an id of their own."),
    key("sasl.oauthbearer.assertion.claim.nbf.seconds", Int, Some("60"), Between(0, 3600), Low).unused()
        .doc("How far before now an assertion's validity begins."),
    key("sasl.oauthbearer.assertion.claim.sub", String, None, Any, Medium).unused()
        .doc("Subject claim of assertions sent to the identity provider."),
    key("sasl.oauthbearer.assertion.file", String, None, Any, Medium).unused()
        .doc("File with a ready assertion."),
    key("sasl.oauthbearer.assertion.private.key.file", String, None, Any, Medium).unused()
        .doc("File with the private key that signs assertions."),
    key("sasl.oauthbearer.assertion.private.key.passphrase", Password, None, Any, Medium).unused()
        .doc("Passphrase of the private key that signs assertions."),
    key("sasl.oauthbearer.assertion.template.file", String, None, Any, Medium).unused()
        .doc("File with the header and claims that assertions start from."),
    key("sasl.oauthbearer.client.credentials.client.id", String, None, Any, Medium).unused()
        .doc("Client id for the client-credentials grant."),
    key("sasl.oauthbearer.client.credentials.client.secret", Password, None, Any, Medium).unused()
        .doc("Client secret for the client-credentials grant."),
    key("sasl.oauthbearer.clock.skew.seconds", Int, Some("30"), Any, Low).unused()
        .doc("Difference of clocks that is forgiven when a token is checked."),
    key("sasl.oauthbearer.expected.audience", List, Some(""), Any, High).unused()
        .doc("Audiences of which a token must name one."),
    key("sasl.oauthbearer.expected.issuer", String, None, Any, High).unused()
        .doc("Issuer that a token must name."),
    key("sasl.oauthbearer.jwks.endpoint.refresh.ms", Long, Some("3600000"), Any, Low).unused()
        .doc("How often the identity provider's keys are fetched again."),
    key("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", Long, Some("10000"), Any, Low).unused()
        .doc("Longest pause between attempts to fetch the provider's keys."),
    key("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", Long, Some("100"), Any, Low).unused()
        .doc("First pause between attempts to fetch the provider's keys."),
    key("sasl.oauthbearer.jwks.endpoint.url", String, None, Any, Medium).unused()
        .doc("Address of the identity provider's keys."),
    key("sasl.oauthbearer.jwt.retriever.class", Class,
        Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever"),
        Any, Medium).unused()
        .doc("Java class that obtains tokens."),
    key("sasl.oauthbearer.jwt.validator.class", Class,
        Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator"),
        Any, Medium).unused()
        .doc("Java class that checks tokens."),
    key("sasl.oauthbearer.scope", String, None, Any, Medium).unused()
        .doc("Scope asked for when a token is obtained."),
    key("sasl.oauthbearer.scope.claim.name", String, Some("scope"), Any, Low).unused()
        .doc("Name of the claim that holds a token's scope."),
    key("sasl.oauthbearer.sub.claim.name", String, Some("sub"), Any, Low).unused()
        .doc("Name of the claim that holds a token's subject."),
    key("sasl.oauthbearer.token.endpoint.url", String, None, Any, Medium).unused()
        .doc("Address at which tokens are obtained."),
    key("sasl.server.callback.handler.class", Class, None, Any, Medium).unused()
        .doc("Java class that checks the credentials of clients."),
    key("sasl.server.max.receive.size", Int, Some("524288"), Any, Medium).unused()
        .doc("Largest message that a client may send before it is logged in."),
    key("security.inter.broker.protocol", String, Some("PLAINTEXT"),
        OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), Medium).unused()
        .doc("Security protocol between brokers."),
    key("security.providers", String, None, Any, Low).unused()
        .doc("Java classes that add security algorithms."),
    key("ssl.allow.dn.changes", Boolean, Some("false"), Any, Low).unused()
        .doc("Whether a new certificate may carry another distinguished name than the old one."),
    key("ssl.allow.san.changes", Boolean, Some("false"), Any, Low).unused()
        .doc("Whether a new certificate may lack alternative names that the old one had."),
    key("ssl.cipher.suites", List, Some(""), Any, Medium).dynamic().unused()
        .doc("Cipher suites that TLS may use; empty leaves the choice to the library."),
    key("ssl.client.auth", String, Some("none"), OneOf(&["required", "requested", "none"]), Medium).dynamic().unused()
        .doc("Whether clients must, may or need not show a certificate."),
    key("ssl.enabled.protocols", List, Some("TLSv1.2,TLSv1.3"), Any, Medium).dynamic().unused()
        .doc("TLS versions that connections may use."),
    key("ssl.endpoint.identification.algorithm", String, Some("https"), Any, Low).dynamic().unused()
        .doc("How a peer's certificate is compared with its host name; empty switches it off."),
    key("ssl.engine.factory.class", Class, None, Any, Low).dynamic().unused()
        .doc("Java class that makes TLS engines."),
    key("ssl.key.password", Password, None, Any, Medium).dynamic().unused()
        .doc("Password of the private key."),
    key("ssl.keymanager.algorithm", String, Some("SunX509"), Any, Medium).dynamic().unused()
        .doc("Java's algorithm for key managers."),
    key("ssl.keystore.certificate.chain", Password, None, Any, Medium).dynamic().unused()
        .doc("The broker's certificate chain in PEM form."),
    key("ssl.keystore.key", Password, None, Any, Medium).dynamic().unused()
        .doc("The broker's private key in PEM form."),
    key("ssl.keystore.location", String, None, Any, Medium).dynamic().unused()
        .doc("File with the broker's key and certificate."),
    key("ssl.keystore.password", Password, None, Any, Medium).dynamic().unused()
        .doc("Password of the key store file."),
    key("ssl.keystore.type", String, Some("JKS"), Any, Medium).dynamic().unused()
        .doc("Format of the key store file."),
    key("ssl.principal.mapping.rules", String, Some("DEFAULT"), Any, Low).unused()
        .doc("Rules that turn a certificate's distinguished name into a user name."),
    key("ssl.protocol", String, Some("TLSv1.3"), Any, Medium).dynamic().unused()
        .doc("TLS version that new contexts are made for."),
    key("ssl.provider", String, None, Any, Medium).dynamic().unused()
        .doc("Java's security provider for TLS."),
    key("ssl.secure.random.implementation", String, None, Any, Low).dynamic().unused()
        .doc("Java's source of randomness for TLS."),
    key("ssl.trustmanager.algorithm", String, Some("PKIX"), Any, Medium).dynamic().unused()
        .doc("Java's algorithm for trust managers."),
    key("ssl.truststore.certificates", Password, None, Any, Medium).dynamic().unused()
        .doc("Trusted certificates in PEM form."),
    key("ssl.truststore.location", String, None, Any, Medium).dynamic().unused()
        .doc("File with the trusted certificates."),
    key("ssl.truststore.password", Password, None, Any, Medium).dynamic().unused()
        .doc("Password of the trust store file."),
    key("ssl.truststore.type", String, Some("JKS"), Any, Medium).dynamic().unused()
        .doc("Format of the trust store file."),
];
